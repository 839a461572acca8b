package board

import "testing"

// Protects: no page token crashes the board, and one for another order is not taken.
func FuzzBoardToken(f *testing.F) {
	for _, seed := range []string{"", "AQ", "AQAAAA", "AQECAjA2", "AQH___________8B_"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		taken := map[order]bool{}
		for name, o := range orders {
			at, err := parseToken(token, name)
			if err == nil && token != "" {
				taken[o] = true
			}
			if err != nil && at != (place{}) {
				t.Errorf("%q is refused, with a place", token)
			}
		}
		if len(taken) > 1 {
			t.Errorf("%q is taken by %d orders", token, len(taken))
		}
	})
}
