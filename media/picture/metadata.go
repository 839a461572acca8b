package picture

import (
	"io"
	"math"
	"strings"
	"time"

	"github.com/bep/imagemeta"
)

// The bounds on metadata. imagemeta has a timeout too, but goes on reading behind it.
const (
	exifReads   = 10_000
	exifBytes   = 64 << 20
	exifTags    = 500
	exifTagSize = 1000
)

// vietnam is where a camera stands that does not say how far its clock is from UTC.
var vietnam = time.FixedZone("+07:00", 7*60*60)

type exifFormat = imagemeta.ImageFormat

const (
	exifJPEG = imagemeta.JPEG
	exifPNG  = imagemeta.PNG
	exifWebP = imagemeta.WebP
	exifHEIF = imagemeta.HEIF
)

type metadata struct {
	taken       time.Time
	assumed     bool
	position    *Position
	orientation int // 1 to 8, as EXIF has it; 0 where it says nothing
}

// rationed ends the reading of metadata that leads in circles.
type rationed struct {
	io.ReadSeeker

	reads int
	bytes int64
}

func (r *rationed) Read(p []byte) (int, error) {
	if r.reads++; r.reads > exifReads || r.bytes > exifBytes {
		return 0, io.EOF
	}
	n, err := r.ReadSeeker.Read(p)
	r.bytes += int64(n)
	return n, err
}

// wanted are the tags that are read.
var wanted = map[string]bool{
	"DateTimeOriginal": true, "OffsetTimeOriginal": true, "Orientation": true,
	"GPSLatitude": true, "GPSLatitudeRef": true, "GPSLongitude": true, "GPSLongitudeRef": true, "GPSHPositioningError": true,
}

// readMetadata reads what the camera wrote beside the pixels (EXIF 2.32). Broken metadata is none: it proves nothing, and
// the picture may be good all the same.
func readMetadata(content io.ReadSeeker, format exifFormat) (found metadata) {
	defer func() { _ = recover() }() // As with the decoders.
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return found
	}
	var tags imagemeta.Tags
	// What was read before an error counts: cameras write broken tags behind good ones.
	_, _ = imagemeta.Decode(imagemeta.Options{
		R: &rationed{ReadSeeker: content}, ImageFormat: format, Sources: imagemeta.EXIF,
		ShouldHandleTag: func(tag imagemeta.TagInfo) bool {
			// IFD1 describes the camera's own thumbnail.
			return wanted[tag.Tag] && !strings.HasPrefix(tag.Namespace, "IFD1")
		},
		HandleTag: func(tag imagemeta.TagInfo) error {
			tags.Add(tag)
			return nil
		},
		Warnf:        func(string, ...any) {},
		LimitNumTags: exifTags, LimitTagSize: exifTagSize,
	})
	exif := tags.EXIF()
	found.taken, found.assumed = taken(text(exif["DateTimeOriginal"]), text(exif["OffsetTimeOriginal"]))
	if orientation := number(exif["Orientation"].Value); orientation >= 1 && orientation <= 8 {
		found.orientation = int(orientation)
	}
	_, hasLatitude := exif["GPSLatitude"]
	_, hasLongitude := exif["GPSLongitude"]
	latitude, longitude, err := tags.GetLatLong()
	// A camera without a fix writes zeroes.
	if hasLatitude && hasLongitude && err == nil && math.Abs(latitude) <= 90 && math.Abs(longitude) <= 180 &&
		(latitude != 0 || longitude != 0) {
		found.position = &Position{Latitude: latitude, Longitude: longitude}
		if accuracy := number(exif["GPSHPositioningError"].Value); accuracy > 0 && accuracy <= 1_000_000 {
			found.position.AccuracyM = accuracy
		}
	}
	return found
}

// taken joins EXIF's local time and its offset. imagemeta's own GetDateTime leaves the offset out.
func taken(local, offset string) (at time.Time, assumed bool) {
	if at, err := time.Parse("2006:01:02 15:04:05 -07:00", local+" "+offset); err == nil {
		return at.UTC(), false
	}
	if at, err := time.ParseInLocation("2006:01:02 15:04:05", local, vietnam); err == nil {
		return at.UTC(), true
	}
	return time.Time{}, false
}

func text(tag imagemeta.TagInfo) string {
	value, _ := tag.Value.(string)
	return strings.Trim(value, " \x00")
}

func number(value any) float64 {
	switch value := value.(type) {
	case uint16:
		return float64(value)
	case uint32:
		return float64(value)
	case int:
		return float64(value)
	case float64:
		return value
	case imagemeta.Rat[uint32]:
		return value.Float64()
	default:
		return 0
	}
}
