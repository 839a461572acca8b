package backup

import "testing"

// Protects a restore from strange names in a bucket: what is taken for an object of a backup has a kind and a whole SHA-256.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		"journal/1022102210221022/part/00000000000000000001-00000000000000000009-01764057600000000000-0000000000000000000000000000000000000000000000000000000000000000.age",
		"photo/0000000000000000000000000000000000000000000000000000000000000000", "journal/x/part/1-2-3-4", "journal///", "", "photo/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		o, ours := parse(name)
		if ours && (len(o.sum) != 64 || o.Name != name || o.Kind != kindPhoto && o.Kind != kindPart && o.Kind != kindSnapshot) {
			t.Fatalf("%q is taken for %+v", name, o)
		}
	})
}
