package main

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	_ "image/png" // What --png writes.
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/cong1022/fieldsync/phone"
)

// scan is what a camera reads: a decoder that nobody here wrote.
func scan(picture image.Image) (string, error) {
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		return "", err
	}
	// The picture is a code and nothing else. Where it looks for one as in a photo, this decoder misses one code in fifty.
	read, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		return "", err
	}
	return read.GetText(), nil
}

// drawn is the picture that a terminal shows of lines of half blocks, black on white, eight pixels a module.
func drawn(text string) image.Image {
	const module = 8
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	picture := image.NewGray(image.Rect(0, 0, 0, 0))
	for row, line := range lines {
		line, _ = strings.CutPrefix(line, "\x1b[38;5;16;48;5;231m")
		line, _ = strings.CutSuffix(line, "\x1b[0m")
		blocks := []rune(line)
		if row == 0 {
			picture = image.NewGray(image.Rect(0, 0, len(blocks)*module, len(lines)*2*module))
		}
		for column, block := range blocks {
			for half, black := range []bool{block == '▀' || block == '█', block == '▄' || block == '█'} {
				for pixel := range module * module {
					shade := color.Gray{Y: 255}
					if black {
						shade.Y = 0
					}
					picture.SetGray(column*module+pixel%module, (row*2+half)*module+pixel/module, shade)
				}
			}
		}
	}
	return picture
}

// scanFile reads the QR code of a PNG, or of what was printed on a terminal.
func scanFile(text []byte) (string, error) {
	if bytes.HasPrefix(text, []byte("\x89PNG")) {
		picture, _, err := image.Decode(bytes.NewReader(text))
		if err != nil {
			return "", err
		}
		return scan(picture)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "\x1b[") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "", errors.New("no QR code is drawn there")
	}
	return scan(drawn(strings.Join(lines, "")))
}

// Protects: the longest address that a QR code can be asked to hold is still read, on the terminal and as PNG, the file is its owner's
// alone, a file that is there is not overwritten, and what does not fit is an error and no picture.
func TestQRCode(t *testing.T) {
	text := phone.Invitation{Server: "https://" + strings.Repeat("a-long-name.", 20) + "example", Code: "K7QD-2MXA-9RTC"}.String()
	var terminal bytes.Buffer
	check(t, showQR(&terminal, text))
	file := filepath.Join(t.TempDir(), "an.png")
	check(t, writeQR(file, text))
	picture, err := os.ReadFile(file)
	check(t, err)
	for name, shown := range map[string][]byte{"terminal": terminal.Bytes(), "PNG": picture} {
		if read, err := scanFile(shown); err != nil || read != text {
			t.Errorf("%s: %q %v", name, read, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := writeQR(file, text); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if err := showQR(&terminal, strings.Repeat("x", 3000)); err == nil {
		t.Error("3,000 bytes are drawn")
	}
}
