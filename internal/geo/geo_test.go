package geo

import (
	"math"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects what suggestions, hints and the judging of photos measure by: known distances, the same both ways, and nothing that is no
// number where points are the same or opposite.
func TestMetres(t *testing.T) {
	at := func(lat, long float64) *fieldsyncv1.Position {
		return &fieldsyncv1.Position{Latitude: lat, Longitude: long}
	}
	const half = math.Pi * earthMetres
	for name, test := range map[string]struct {
		a, b *fieldsyncv1.Position
		want float64
	}{
		"the same":                      {at(10.7797, 106.7060), at(10.7797, 106.7060), 0},
		"a degree north":                {at(10, 106), at(11, 106), half / 180},
		"a degree east on 60° north":    {at(60, 10), at(60, 11), 55_595},
		"over the date line":            {at(0, 179.5), at(0, -179.5), half / 180},
		"opposite":                      {at(0, 0), at(0, 180), half},
		"Bến Thành to Bưu điện Sài Gòn": {at(10.7721, 106.6983), at(10.7799, 106.6999), 885},
	} {
		got, back := Metres(test.a, test.b), Metres(test.b, test.a)
		if math.Abs(got-test.want) > 1+test.want*1e-4 || math.Abs(got-back) > 1e-6 {
			t.Errorf("%s: %.1f m, back %.1f m, want %.1f m", name, got, back, test.want)
		}
	}
}
