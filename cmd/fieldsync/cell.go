package main

import (
	"strings"
	"unicode"
)

// cell is a text of somebody else, as it may stand on one line of a terminal: without what would move its cursor, begin a line or turn
// its letters around.
func cell(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
}

// block is cell for a text of several lines, which are indented by a tab behind the first.
func block(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = cell(line)
	}
	return strings.Join(lines, "\n\t")
}

// sheetCell is a cell of a CSV file. What citizens write is opened in spreadsheets: it must not become a formula there (OWASP, CSV
// injection).
func sheetCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
