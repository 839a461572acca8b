package board

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Vietnamese puts two kinds of marks on a vowel: those that make it another letter (â, ă, ê, ô, ơ, ư) and the five tones. Where
// the tone stands in "hòa" or "hoà" is a matter of taste, so a word is compared with its tone before it.
const tones = "\u0300\u0301\u0303\u0309\u0323"

// index returns the words of some texts, each behind a space: as they are written, and without any marks. One with a tone stands there
// without it, too: who types "đin" finds "đình", and so does "đìn".
func index(texts ...string) (plain, folded string) {
	var p, f strings.Builder
	for _, word := range words(strings.Join(texts, " ")) {
		tone, letters := spelled(word)
		p.WriteString(" " + letters)
		if tone != "" {
			p.WriteString(" " + tone + letters)
		}
		f.WriteString(" " + fold(word))
	}
	return p.String() + " ", f.String() + " "
}

// words cuts a text into words of letters and digits in lower case, decomposed (Unicode NFD).
func words(text string) []string {
	return strings.FieldsFunc(norm.NFD.String(strings.ToLower(text)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r)
	})
}

// spelled takes the tones of a decomposed word from its letters, which it composes: "đo" is not how "đô" begins.
func spelled(word string) (tone, letters string) {
	var marks, rest strings.Builder
	for _, r := range word {
		if strings.ContainsRune(tones, r) {
			marks.WriteRune(r)
		} else {
			rest.WriteRune(r)
		}
	}
	return marks.String(), norm.NFC.String(rest.String())
}

// fold is a decomposed word without marks, and with d for đ.
func fold(word string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case r == 'đ':
			return 'd'
		default:
			return r
		}
	}, word)
}

// query is what somebody searches for.
type query []struct{ plain, folded string }

// newQuery reads the words of a text. A word without marks is looked for among the words without theirs, one with marks among
// those as they are written; each from its beginning.
func newQuery(text string) query {
	var q query
	for _, word := range words(text) {
		wanted := struct{ plain, folded string }{folded: " " + fold(word)}
		if fold(word) != word {
			tone, letters := spelled(word)
			wanted.plain = " " + tone + letters
		}
		q = append(q, wanted)
	}
	return q
}

func (q query) finds(r *row) bool {
	for _, word := range q {
		if !strings.Contains(r.folded, word.folded) || word.plain != "" && !strings.Contains(r.plain, word.plain) {
			return false
		}
	}
	return true
}
