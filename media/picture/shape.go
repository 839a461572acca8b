package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math/bits"

	"github.com/bbrks/go-blurhash"
	"github.com/corona10/goimagehash"
	"golang.org/x/image/draw"
)

// The sizes of what is made of a picture.
const (
	ThumbnailSide = 320
	PublicSide    = 1600

	thumbnailQuality = 80
	publicQuality    = 85
	blurSide         = 32
)

// shrink makes a picture of at most side pixels a side; it enlarges nothing. Large pictures go in two steps, a quick one to
// about twice the size and a good one from there.
func shrink(picture image.Image, side int) *image.RGBA {
	if width, height := fit(picture.Bounds(), 2*side); width < picture.Bounds().Dx() {
		half := image.NewRGBA(image.Rect(0, 0, width, height))
		draw.ApproxBiLinear.Scale(half, half.Bounds(), picture, picture.Bounds(), draw.Src, nil)
		picture = half
	}
	width, height := fit(picture.Bounds(), side)
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.CatmullRom.Scale(small, small.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	return small
}

// fit returns the size of a picture that is shrunk to at most side pixels a side.
func fit(bounds image.Rectangle, side int) (width, height int) {
	width, height = bounds.Dx(), bounds.Dy()
	if longer := max(width, height); longer > side {
		width, height = max(1, width*side/longer), max(1, height*side/longer)
	}
	return width, height
}

// orient turns and mirrors a picture as EXIF's orientation says (EXIF 2.32, 4.6.4 A).
func orient(picture *image.RGBA, orientation int) *image.RGBA {
	if orientation < 2 || orientation > 8 {
		return picture
	}
	width, height := picture.Bounds().Dx(), picture.Bounds().Dy()
	turned := image.NewRGBA(image.Rect(0, 0, width, height))
	if orientation >= 5 {
		turned = image.NewRGBA(image.Rect(0, 0, height, width))
	}
	for y := range height {
		for x := range width {
			u, v := x, y
			switch orientation {
			case 2:
				u = width - 1 - x
			case 3:
				u, v = width-1-x, height-1-y
			case 4:
				v = height - 1 - y
			case 5:
				u, v = y, x
			case 6:
				u, v = height-1-y, x
			case 7:
				u, v = height-1-y, width-1-x
			case 8:
				u, v = y, width-1-x
			}
			turned.SetRGBA(u, v, picture.RGBAAt(x, y))
		}
	}
	return turned
}

func encode(picture image.Image, quality int) ([]byte, error) {
	var encoded bytes.Buffer
	if err := jpeg.Encode(&encoded, picture, &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("encoding a picture: %w", err)
	}
	return encoded.Bytes(), nil
}

// blur takes the hash of a still smaller picture: it has 12 components, and its cost grows with the pixels.
func blur(picture image.Image) (string, error) {
	width, height := fit(picture.Bounds(), blurSide)
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	hash, err := blurhash.Encode(4, 3, small)
	if err != nil {
		return "", fmt.Errorf("blurring a picture: %w", err)
	}
	return hash, nil
}

// minContrast is the least spread of brightness, of 255, within which pictures count as different. Below, a hash is noise.
const minContrast = 24

// perceive computes the perceptual hash.
func perceive(picture *image.RGBA) (hash uint64, ok bool, err error) {
	darkest, brightest := uint32(255), uint32(0)
	for i := 0; i+3 < len(picture.Pix); i += 4 {
		grey := (299*uint32(picture.Pix[i]) + 587*uint32(picture.Pix[i+1]) + 114*uint32(picture.Pix[i+2])) / 1000
		darkest, brightest = min(darkest, grey), max(brightest, grey)
	}
	if brightest < darkest+minContrast {
		return 0, false, nil
	}
	perceived, err := goimagehash.PerceptionHash(picture)
	if err != nil {
		return 0, false, fmt.Errorf("hashing a picture: %w", err)
	}
	return perceived.GetHash(), true, nil
}

// Distance is the number of bits in which two perceptual hashes differ: 0 to 64. Copies of a picture that were made smaller,
// compressed again or brightened stay within a few.
func Distance(a, b uint64) int { return bits.OnesCount64(a ^ b) }
