package picture

import (
	"bytes"
	"testing"
)

// Protects: whatever bytes a phone sends as a photo, looking into them ends with a look or damage, within the bound on pixels, and what the
// public is shown of them is a picture or nothing.
func FuzzInspect(f *testing.F) {
	small := scene(1, 24, 16)
	for _, seed := range [][]byte{
		asJPEG(f, small, 70), asPNG(f, small), asJPEG(f, small, 70)[:200], []byte("RIFF\x1a\x00\x00\x00WEBPVP8L"), []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"),
		[]byte("\xff\xd8\xff\xe1\x00\x16Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00"),
		{},
	} {
		f.Add(seed)
	}
	const pixels = 1 << 14
	f.Fuzz(func(t *testing.T, content []byte) {
		look, err := inspect(bytes.NewReader(content), int64(len(content)), pixels)
		if err != nil {
			t.Fatalf("a reader that cannot fail: %v", err)
		}
		if look.Thumbnail != nil && int64(look.Width)*int64(look.Height) > pixels {
			t.Errorf("%d × %d pixels were decoded", look.Width, look.Height)
		}
		shown, err := Preview(bytes.NewReader(content), pixels)
		if err == nil && len(shown) == 0 {
			t.Error("a preview of nothing")
		}
	})
}
