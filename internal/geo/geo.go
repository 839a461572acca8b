// Package geo measures between points of the Earth.
package geo

import (
	"math"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// earthMetres is the Earth's mean radius (IUGG).
const earthMetres = 6_371_008.8

// Metres is the great-circle distance (haversine) on a sphere of the Earth's mean radius, at the worst half a percent off. The
// points must not be nil; their accuracies do not count.
func Metres(a, b *fieldsyncv1.Position) float64 {
	const degree = math.Pi / 180
	north, east := (b.GetLatitude()-a.GetLatitude())*degree, (b.GetLongitude()-a.GetLongitude())*degree
	h := math.Pow(math.Sin(north/2), 2) + math.Cos(a.GetLatitude()*degree)*math.Cos(b.GetLatitude()*degree)*math.Pow(math.Sin(east/2), 2)
	return 2 * earthMetres * math.Asin(math.Sqrt(min(1, h)))
}
