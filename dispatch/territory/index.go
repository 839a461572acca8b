package territory

import (
	"math"

	"github.com/peterstace/simplefeatures/geom"
	"github.com/tidwall/geojson/geometry"
	"github.com/tidwall/rtree"
)

// Index finds the unit of a point. It does not change once made, and is safe for concurrent use.
type Index struct {
	tree  rtree.RTreeG[indexed]
	count int
}

type indexed struct {
	unit    string
	polygon *geometry.Poly
}

// NewIndex makes an index of valid areas.
func NewIndex(areas []Area) *Index {
	x := &Index{}
	for _, area := range areas {
		var polygons []geom.Polygon
		if one, ok := area.Shape.AsPolygon(); ok {
			polygons = append(polygons, one)
		} else if many, ok := area.Shape.AsMultiPolygon(); ok {
			for i := range many.NumPolygons() {
				polygons = append(polygons, many.PolygonN(i))
			}
		}
		for _, p := range polygons {
			var holes [][]geometry.Point
			for i := range p.NumInteriorRings() {
				holes = append(holes, points(p.InteriorRingN(i)))
			}
			// A quadtree over the edges, so that a border of many points costs a lookup no more than one of few.
			polygon := geometry.NewPoly(points(p.ExteriorRing()), holes, &geometry.IndexOptions{Kind: geometry.QuadTree, MinPoints: 64})
			box := polygon.Rect()
			x.tree.Insert([2]float64{box.Min.X, box.Min.Y}, [2]float64{box.Max.X, box.Max.Y}, indexed{area.Unit, polygon})
			x.count++
		}
	}
	return x
}

func points(ring geom.LineString) (list []geometry.Point) {
	line := ring.Coordinates()
	for i := range line.Length() {
		xy := line.GetXY(i)
		list = append(list, geometry.Point{X: xy.X, Y: xy.Y})
	}
	return list
}

// Len is how many polygons it has.
func (x *Index) Len() int { return x.count }

// Find returns the unit at a point. A border belongs to both its sides, a hole does not belong to what is around it, and of several
// units the one with the lowest id is taken, so that a point on a border always goes to the same. counts tells whether a unit
// answers at all, such as at the time of the report; nil: all do. Empty where none is.
func (x *Index) Find(latitude, longitude float64, counts func(unit string) bool) (unit string) {
	if math.IsNaN(latitude) || math.IsNaN(longitude) {
		return ""
	}
	at := [2]float64{longitude, latitude}
	x.tree.Search(at, at, func(_, _ [2]float64, found indexed) bool {
		if (unit == "" || found.unit < unit) && (counts == nil || counts(found.unit)) && found.polygon.ContainsPoint(geometry.Point{X: longitude, Y: latitude}) {
			unit = found.unit
		}
		return true
	})
	return unit
}
