package store

import (
	"math"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

const (
	// cellDegrees is how high and wide a cell is: 222 m from south to north, and in Vietnam 205 to 221 m from west to east.
	cellDegrees = 0.002
	// maxColumns bounds the cells around a point: towards the poles they become narrow.
	maxColumns = 9
)

// Cell is a square of the map by which what lies near each other is found.
type Cell struct{ row, column uint32 }

// CellOf is the cell in which a position lies.
func CellOf(p *fieldsyncv1.Position) Cell {
	return Cell{row(p.GetLatitude()), column(p.GetLongitude())}
}

func row(latitude float64) uint32 {
	return uint32(math.Floor((min(max(latitude, -90), 90) + 90) / cellDegrees))
}

func column(longitude float64) uint32 {
	return uint32(math.Floor((min(max(longitude, -180), 180) + 180) / cellDegrees))
}

// CellsAround are the cells that hold everything within so many metres of a position, at the most 1,000, and more besides: measure what
// they hold. They do not go over the date line or a pole, nor beyond 85° all the way.
func CellsAround(p *fieldsyncv1.Position, metres float64) (cells []Cell) {
	const metresADegree = 111_195
	north := min(metres, 1000) / metresADegree
	east := north / max(math.Cos(p.GetLatitude()*math.Pi/180), 0.01)
	last := column(p.GetLongitude() + east)
	for r := row(p.GetLatitude() - north); r <= row(p.GetLatitude()+north); r++ {
		first := column(p.GetLongitude() - east)
		for c := first; c <= min(last, first+maxColumns); c++ {
			cells = append(cells, Cell{r, c})
		}
	}
	return cells
}
