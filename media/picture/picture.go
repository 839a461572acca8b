// Package picture looks into the bytes of a photo: what they are, whether they are whole, what the camera wrote beside the
// pixels, what it looks like. It knows nothing of tasks and claims.
//
// The bytes come from strangers. Bounds hold before anything is decoded: 50 million pixels, 400 MiB for the decoder, 64
// MiB and 500 tags for EXIF. A decoder that panics has found damaged bytes.
package picture

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/image/webp"
)

const (
	// MaxPixels bounds what is decoded: a PNG of 48 KB can have 400 million pixels.
	MaxPixels = 50_000_000
	// maxDecodeBytes bounds what a decoder may need at once: 50 million pixels of 16 bits a channel.
	maxDecodeBytes = 400 << 20
)

// Damage says why bytes are no photo that can be checked.
type Damage string

// The ways in which a photo can be damaged. The empty Damage means that it is whole.
const (
	// NoImage: not JPEG, PNG, WebP or HEIC.
	NoImage Damage = "no_image"
	// Broken: cut off, or not to be decoded.
	Broken Damage = "broken"
	// TooLarge: over one of the bounds of the package.
	TooLarge Damage = "too_large"
)

// Position is where a camera says that it was.
type Position struct {
	Latitude, Longitude float64 // degrees north and east
	AccuracyM           float64 // 0 when the camera does not say
}

// Look is what was found. Its zero value has found nothing.
type Look struct {
	MediaType     string // by the bytes; empty with NoImage
	Width, Height int    // as stored; 0 where unknown, as in HEIC
	Damage        Damage
	// Taken is EXIF's DateTimeOriginal, zero where there is none. Without an OffsetTimeOriginal it is read as time in Vietnam,
	// and Assumed says so.
	Taken    time.Time
	Assumed  bool
	Position *Position
	// Thumbnail is a JPEG without metadata of at most ThumbnailSide pixels a side, the right way up. Nil where nothing was
	// decoded: HEIC is kept without one, since decoding it took seconds and hundreds of megabytes.
	Thumbnail []byte
	Blurhash  string
	// Hash is a 64-bit perceptual hash (pHash) of the picture the right way up; Hashed is false where the picture was not
	// decoded or is too plain to tell from others: wet asphalt looks like wet asphalt.
	Hash   uint64
	Hashed bool
}

// Inspect looks at content, which has size bytes. Its error is that of reading: what is wrong with the bytes is Damage.
func Inspect(content io.ReadSeeker, size int64) (Look, error) {
	return inspect(content, size, MaxPixels)
}

func inspect(content io.ReadSeeker, size, maxPixels int64) (Look, error) {
	var look Look
	source := &tracked{ReadSeeker: content}
	mediaType, format, err := sniff(source)
	if err != nil {
		return look, err
	}
	if mediaType == "" {
		look.Damage = NoImage
		return look, source.err
	}
	look.MediaType = mediaType
	metadata := readMetadata(source, format.exif)
	look.Taken, look.Assumed, look.Position = metadata.taken, metadata.assumed, metadata.position
	if format.decode == nil {
		if !wholeBoxes(source, size) {
			look.Damage = Broken
		}
		return look, source.err
	}
	picture, damage := decode(source, format, &look, maxPixels)
	if look.Damage = damage; picture == nil || source.err != nil {
		return look, source.err
	}
	upright := orient(shrink(picture, ThumbnailSide), metadata.orientation)
	if look.Thumbnail, err = encode(upright, thumbnailQuality); err != nil {
		return look, err
	}
	if look.Blurhash, err = blur(upright); err != nil {
		return look, err
	}
	look.Hash, look.Hashed, err = perceive(upright)
	return look, err
}

// sniff tells the media type by the bytes, and what reads it; an empty one where they are no image of ours. A kind that is another one, as
// an animated PNG is a PNG, is read as that.
func sniff(source io.Reader) (mediaType string, _ format, err error) {
	kind, err := mimetype.DetectReader(io.LimitReader(source, 3072))
	for ; err == nil && kind != nil; kind = kind.Parent() {
		if format, known := formats[kind.String()]; known {
			return kind.String(), format, nil
		}
	}
	return "", format{}, err
}

// decode returns the picture, or what is wrong with it.
func decode(source io.ReadSeeker, format format, look *Look, maxPixels int64) (_ image.Image, damage Damage) {
	defer func() {
		// The decoders have been known to panic over bytes made for it.
		if recover() != nil {
			damage = Broken
		}
	}()
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return nil, Broken
	}
	config, err := format.config(bufio.NewReader(source))
	if err != nil {
		return nil, Broken
	}
	look.Width, look.Height = config.Width, config.Height
	pixels := int64(config.Width) * int64(config.Height)
	if pixels > maxPixels || pixels*format.bytesPerPixel(source, config) > maxDecodeBytes {
		return nil, TooLarge
	}
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return nil, Broken
	}
	picture, err := format.decode(bufio.NewReaderSize(source, 64<<10))
	if err != nil || pixels == 0 {
		return nil, Broken
	}
	return picture, ""
}

// pngPixel is what a PNG's decoder needs a pixel at the most; an interlaced one is decoded in passes of a quarter more.
func pngPixel(_ io.ReadSeeker, config image.Config) int64 {
	switch config.ColorModel {
	case color.NRGBA64Model, color.RGBA64Model:
		return 8
	default:
		return 5
	}
}

// jpegPixel tells sequential JPEGs from progressive ones, of which the decoder holds all coefficients.
func jpegPixel(content io.ReadSeeker, _ image.Config) int64 {
	if progressive(content) {
		return 15
	}
	return 4
}

func webpPixel(io.ReadSeeker, image.Config) int64 { return 8 }

// progressive looks for the frame header (ITU-T T.81, B.1.1.3) that says so.
func progressive(content io.ReadSeeker) bool {
	if _, err := content.Seek(2, io.SeekStart); err != nil {
		return false
	}
	for reader := bufio.NewReader(content); ; {
		var segment [4]byte
		if _, err := io.ReadFull(reader, segment[:]); err != nil || segment[0] != 0xff {
			return true // Not to be told: the dearer case.
		}
		switch segment[1] {
		case 0xc0, 0xc1:
			return false
		case 0xc2:
			return true
		}
		if _, err := reader.Discard(int(segment[2])<<8 + int(segment[3]) - 2); err != nil {
			return true
		}
	}
}

// tracked keeps the error of the content itself apart from what decoders make of it.
type tracked struct {
	io.ReadSeeker

	err error
}

func (t *tracked) Read(p []byte) (int, error) {
	n, err := t.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = fmt.Errorf("reading a photo: %w", err)
	}
	return n, err
}

// Public returns a copy of the picture without metadata, a JPEG of at most PublicSide pixels a side, the right way up. An
// error means that it cannot be decoded or that it cannot be read.
func Public(content io.ReadSeeker) ([]byte, error) {
	source := &tracked{ReadSeeker: content}
	mediaType, format, err := sniff(source)
	if err != nil {
		return nil, err
	}
	if format.decode == nil {
		return nil, fmt.Errorf("no public copy of %q", mediaType)
	}
	orientation := readMetadata(source, format.exif).orientation
	var look Look
	picture, damage := decode(source, format, &look, MaxPixels)
	if picture == nil {
		return nil, errors.Join(source.err, fmt.Errorf("no public copy of a photo that is %s", damage))
	}
	return encode(orient(shrink(picture, PublicSide), orientation), publicQuality)
}

// Preview makes what a phone sends as a preview a thumbnail of ours, without metadata. An error means that it is no picture of
// at most maxPixels.
func Preview(content io.ReadSeeker, maxPixels int64) ([]byte, error) {
	look, err := inspect(content, 0, maxPixels)
	if err == nil && look.Thumbnail == nil {
		err = errors.New("no preview can be made of this")
	}
	return look.Thumbnail, err
}

// format is a kind of file and what reads it. Without a decoder only its container is checked.
type format struct {
	exif          exifFormat
	config        func(io.Reader) (image.Config, error)
	decode        func(io.Reader) (image.Image, error)
	bytesPerPixel func(io.ReadSeeker, image.Config) int64
}

var formats = map[string]format{
	"image/jpeg":          {exifJPEG, jpeg.DecodeConfig, jpeg.Decode, jpegPixel},
	"image/png":           {exifPNG, png.DecodeConfig, png.Decode, pngPixel},
	"image/webp":          {exifWebP, webp.DecodeConfig, webp.Decode, webpPixel},
	"image/heic":          {exif: exifHEIF},
	"image/heif":          {exif: exifHEIF},
	"image/heic-sequence": {exif: exifHEIF},
	"image/heif-sequence": {exif: exifHEIF},
}
