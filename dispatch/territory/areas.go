// Package territory finds the unit that answers for a place: by polygons, and by the names that places had before a
// reorganisation. It is pure: no store and no clock.
package territory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/peterstace/simplefeatures/geom"

	"github.com/cong1022/fieldsync/dispatch/rows"
)

// Area is where a unit answers.
type Area struct {
	Unit string
	// Shape is a valid Polygon or MultiPolygon in degrees, longitude before latitude.
	Shape geom.Geometry
	// Feature is the number of the feature that it came from, from 1.
	Feature int
}

// feature is as much of a GeoJSON feature as is read.
type feature struct {
	Type       string          `json:"type"`
	Properties map[string]any  `json:"properties"`
	Geometry   json.RawMessage `json:"geometry"`
}

// ReadAreas reads a GeoJSON FeatureCollection (RFC 7946) of Polygons and MultiPolygons. Each feature names its unit in the property
// "unit"; a unit may have several features. An error of package rows names each bad feature by its number: one without a unit, one
// whose polygon crosses itself, one that lies nowhere on the Earth. A file whose "crs" names anything but WGS 84 is bad as a whole.
func ReadAreas(text []byte) ([]Area, error) {
	var collection struct {
		Type     string            `json:"type"`
		Features []json.RawMessage `json:"features"`
		// GeoJSON of before RFC 7946 named another datum here, and office programs still do: VN-2000 lies some 200 m from WGS 84.
		CRS struct {
			Properties struct {
				Name string `json:"name"`
			} `json:"properties"`
		} `json:"crs"`
	}
	var bad rows.Errors
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &collection); err != nil {
		bad.Add(1, fmt.Sprintf("tệp không phải là JSON đúng, có thể bị cắt: %v", err), fmt.Sprintf("the file is not valid JSON, it may be cut off: %v", err))
		return nil, bad.Err()
	}
	if collection.Type != "FeatureCollection" || len(collection.Features) == 0 {
		bad.Add(1, "tệp không phải là GeoJSON FeatureCollection có ít nhất một feature", "the file is no GeoJSON FeatureCollection with at least one feature")
		return nil, bad.Err()
	}
	if name := collection.CRS.Properties.Name; name != "" && !strings.HasSuffix(name, "CRS84") && !strings.HasSuffix(name, ":4326") {
		bad.Add(1, fmt.Sprintf("tọa độ theo hệ %s: hãy xuất lại theo WGS 84 (EPSG:4326)", name), fmt.Sprintf("its coordinates are of %s: export it in WGS 84 (EPSG:4326)", name))
		return nil, bad.Err()
	}
	var areas []Area
	for i, raw := range collection.Features {
		area, vi, en := readArea(raw)
		if vi != "" {
			bad.Add(i+1, vi, en)
			continue
		}
		area.Feature = i + 1
		areas = append(areas, area)
	}
	return areas, bad.Err()
}

func readArea(raw json.RawMessage) (area Area, vi, en string) {
	var f feature
	if err := json.Unmarshal(raw, &f); err != nil || f.Type != "Feature" {
		return area, "không phải là Feature", "is no Feature"
	}
	unit, _ := f.Properties["unit"].(string)
	if unit == "" {
		return area, `thiếu thuộc tính "unit" (mã đơn vị)`, `lacks the property "unit" (a unit's id)`
	}
	if len(f.Geometry) == 0 || string(f.Geometry) == "null" {
		return area, unit + " không có hình (geometry): hãy vẽ, hoặc bỏ feature này", unit + " has no geometry: draw it, or leave the feature out"
	}
	shape, err := geom.UnmarshalGeoJSON(f.Geometry)
	if err != nil {
		what := err.Error()
		return area, fmt.Sprintf("đa giác của %s không hợp lệ (tự cắt hoặc hở): %s", unit, what),
			fmt.Sprintf("the polygon of %s is not valid (crosses itself, or is open): %s", unit, what)
	}
	if !shape.IsPolygon() && !shape.IsMultiPolygon() || shape.IsEmpty() {
		return area, fmt.Sprintf("%s cần Polygon hoặc MultiPolygon, không phải %s", unit, shape.Type()),
			fmt.Sprintf("%s needs a Polygon or MultiPolygon, not a %s", unit, shape.Type())
	}
	low, high, _ := shape.Envelope().MinMaxXYs()
	if low.X < -180 || high.X > 180 || low.Y < -90 || high.Y > 90 {
		return area, fmt.Sprintf("%s nằm ngoài Trái Đất: GeoJSON ghi kinh độ trước, vĩ độ sau", unit),
			fmt.Sprintf("%s lies nowhere on the Earth: GeoJSON has longitude before latitude", unit)
	}
	for _, part := range shape.Dump() {
		if low, high, _ := part.Envelope().MinMaxXYs(); high.X-low.X > 180 {
			return area, unit + " rộng hơn nửa Trái Đất: vùng qua kinh tuyến 180° phải cắt đôi ở đó (RFC 7946, 3.1.9)",
				unit + " is wider than half of the Earth: what crosses the meridian of 180° is cut in two there (RFC 7946, 3.1.9)"
		}
	}
	return Area{Unit: unit, Shape: shape.ForceCoordinatesType(geom.DimXY)}, "", ""
}

// sliver is how much two areas may overlap, in square degrees: about 1,000 square metres at the latitude of Ho Chi Minh City. Borders
// that were drawn twice never meet exactly.
const sliver = 1000.0 / (111_320 * 109_300)

// Overlaps names each two areas of different units that overlap by more than a sliver, in an error of package rows. together tells
// whether two units answer at the same time at all; nil: all do.
func Overlaps(areas []Area, together func(a, b string) bool) error {
	var bad rows.Errors
	sorted := slices.Clone(areas)
	left := func(a Area) float64 { low, _, _ := a.Shape.Envelope().MinMaxXYs(); return low.X }
	slices.SortStableFunc(sorted, func(a, b Area) int {
		if left(a) < left(b) {
			return -1
		}
		return 1
	})
	for i, a := range sorted {
		_, high, _ := a.Shape.Envelope().MinMaxXYs()
		for _, b := range sorted[i+1:] {
			if left(b) > high.X {
				break
			}
			if a.Unit == b.Unit || !a.Shape.Envelope().Intersects(b.Shape.Envelope()) || together != nil && !together(a.Unit, b.Unit) {
				continue
			}
			common, err := geom.Intersection(a.Shape, b.Shape)
			if err != nil {
				bad.Add(b.Feature, fmt.Sprintf("không so được với %s: %v", a.Unit, err), fmt.Sprintf("cannot be compared with %s: %v", a.Unit, err))
				continue
			}
			if area := common.Area(); area > sliver {
				squareMetres := area / sliver * 1000
				bad.Add(max(a.Feature, b.Feature), fmt.Sprintf("%s và %s chồng lên nhau khoảng %.0f m²", a.Unit, b.Unit, squareMetres),
					fmt.Sprintf("%s and %s overlap by about %.0f m²", a.Unit, b.Unit, squareMetres))
			}
		}
	}
	return bad.Err()
}

// words of an abbreviated place name and what they stand for.
var abbreviations = map[string]string{
	"q": "quan", "p": "phuong", "h": "huyen", "x": "xa", "tt": "thi tran", "tp": "thanh pho", "tx": "thi xa",
}

// Name is a name as it is compared: without diacritics, case and punctuation, abbreviations written out, numbers without zeros
// before them. "Q.01" and "Quận 1" are the same, "P.12" and "phường 12".
func Name(text string) string {
	words := strings.Fields(fold(text))
	for i, word := range words {
		letters := strings.TrimRight(word, "0123456789")
		number := strings.TrimLeft(word[len(letters):], "0")
		if number == "" {
			number = word[len(letters):]
		}
		long, short := abbreviations[letters]
		switch {
		case short && (number != "" || i+1 < len(words)):
			words[i] = strings.TrimSpace(long + " " + number)
		default:
			words[i] = letters + number
		}
	}
	return strings.Join(words, " ")
}
