package dispatch

import "testing"

// Protects the import of categories: a file is read or refused by its code.
func FuzzCategories(f *testing.F) {
	f.Add(seedCategories)
	f.Add([]byte(`{"id":"noise","name":{"vi":"Tiếng ồn","en":"Noise"}}`))
	f.Add([]byte(`[],"nextToken":"x"`))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ReadCategories(text); err != nil {
			wantCode(t, err, "categories_malformed")
		}
	})
}
