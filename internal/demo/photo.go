package demo

import (
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// makePhoto writes a JPEG of a few hundred kilobytes, another one for each seed: a demo must not depend on a camera.
func makePhoto(dir string, seed uint64) (string, error) {
	random := rand.New(rand.NewPCG(seed, 1022)) //nolint:gosec // Pixels, no secret.
	picture := image.NewRGBA(image.Rect(0, 0, 800, 600))
	for y := range 600 {
		for x := range 800 {
			noise := uint8(random.UintN(48))                                                                               //nolint:gosec // Fits.
			picture.Set(x, y, color.RGBA{R: uint8(x/4) + noise, G: uint8(y/3) + noise, B: uint8(seed*40) + noise, A: 255}) //nolint:gosec // Wraps, and may.
		}
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("photo-%d.jpg", seed)))
	if err != nil {
		return "", err
	}
	if err := jpeg.Encode(f, picture, &jpeg.Options{Quality: 90}); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
