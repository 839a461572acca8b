package media

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/draw"

	"github.com/cong1022/fieldsync/media/picture"
)

// Protects: what counts as a near copy, on photos of real cameras: a copy that was compressed, made smaller, brightened or cropped by
// 2 % a side is one, and another photo never is. The photos are those beside the project, and those among the tests of
// bep/imagemeta, which the build needs anyway; none is part of this repository.
func TestNearCopiesOfCameraPhotos(t *testing.T) {
	photos := cameraPhotos(t)
	if len(photos) < 3 {
		t.Skip("no camera photos: ../shared/data/photos beside the project is absent, and so is the module cache; generated photos are tested all the same")
	}
	if testing.Short() {
		t.Log("left out by -short: all but three of the photos")
		photos = photos[:3]
	}
	hashes := make([]uint64, len(photos))
	for i, photo := range photos {
		hashes[i] = hashed(t, photo, 92)
		for name, copied := range map[string]uint64{
			"compressed":    hashed(t, photo, 30),
			"a quarter":     hashed(t, scaled(photo, 4), 75),
			"brighter":      hashed(t, brightened(photo, 25), 85),
			"darker":        hashed(t, brightened(photo, -25), 85),
			"cropped by 2%": hashed(t, cropped(photo, 0.02), 85),
		} {
			if bits := picture.Distance(hashes[i], copied); bits > nearBits {
				t.Errorf("photo %d, %s: %d bits away", i, name, bits)
			}
		}
		for j := range i {
			if bits := picture.Distance(hashes[i], hashes[j]); bits <= nearBits+8 {
				t.Errorf("photos %d and %d are different, and %d bits apart", i, j, bits)
			}
		}
	}
}

// Protects: what counts as before and after too alike, on photos of real cameras: the same picture, only compressed or brightened, is;
// one in which a sixth of the view is something else, as after a repair, is not. Real pairs of before and after are not to be had; how
// the distances lie between these two stands in DESIGN.md.
func TestBeforeAndAfterOnCameraPhotos(t *testing.T) {
	photos := cameraPhotos(t)
	if len(photos) < 3 {
		t.Skip("no camera photos: see TestNearCopiesOfCameraPhotos")
	}
	if testing.Short() {
		t.Log("left out by -short: all but three of the photos")
		photos = photos[:3]
	}
	for i, photo := range photos {
		before := hashed(t, photo, 92)
		for name, after := range map[string]uint64{"compressed": hashed(t, photo, 50), "brighter": hashed(t, brightened(photo, 10), 85)} {
			if bits := picture.Distance(before, after); bits > alikeBits {
				t.Errorf("photo %d, %s: %d bits away, which counts as another view", i, name, bits)
			}
		}
		repaired := hashed(t, patched(photo, photos[(i+1)%len(photos)], 0.4), 85)
		if bits := picture.Distance(before, repaired); bits <= alikeBits {
			t.Errorf("photo %d, a sixth of it changed: %d bits away, which counts as the same view", i, bits)
		}
	}
}

// patched has something else in the middle: share of the width and of the height.
func patched(photo, other *image.RGBA, share float64) *image.RGBA {
	out := image.NewRGBA(photo.Bounds())
	draw.Copy(out, out.Bounds().Min, photo, photo.Bounds(), draw.Src, nil)
	size := photo.Bounds().Size()
	width, height := int(float64(size.X)*share), int(float64(size.Y)*share)
	corner := photo.Bounds().Min.Add(image.Pt((size.X-width)/2, (size.Y-height)/2))
	draw.Copy(out, corner, other, image.Rectangle{Max: image.Pt(width, height)}.Add(other.Bounds().Min), draw.Src, nil)
	return out
}

// cameraPhotos are different photos, at most 800 pixels a side.
func cameraPhotos(t *testing.T) (photos []*image.RGBA) {
	t.Helper()
	names, err := filepath.Glob("../../shared/data/photos/DSCN*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/bep/imagemeta").Output()
	if root := strings.TrimSpace(string(module)); err == nil && root != "" {
		for _, name := range []string{
			"bep/sunrise.jpg", "mushroom.jpg", "hugo-issue-8996.jpg", "outofbounds-issue-34.jpg", "metadata-extractor/nikonMakernoteType1.jpg",
			"metadata-extractor/nikonMakernoteType2b.jpg", "metadata-extractor/withIptcExifGps.jpg", "metadata-extractor/withPanasonicFaces.jpg",
			"metadata_demo_exif_only.jpg", "smoke/upstream66.jpg",
		} {
			names = append(names, filepath.Join(root, "testdata", "images", name))
		}
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // Another version of the module.
		}
		photo, err := jpeg.Decode(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if size := photo.Bounds().Size(); size.X < 64 || size.Y < 64 {
			continue // The picture of a test of metadata: there is nothing to see on it.
		}
		photos = append(photos, scaled(photo, max(1, max(photo.Bounds().Dx(), photo.Bounds().Dy())/800)))
	}
	return photos
}

func hashed(t *testing.T, photo image.Image, quality int) uint64 {
	t.Helper()
	var encoded bytes.Buffer
	if err := jpeg.Encode(&encoded, photo, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	look, err := picture.Inspect(bytes.NewReader(encoded.Bytes()), int64(encoded.Len()))
	if err != nil || !look.Hashed {
		t.Fatalf("no hash: %+v, %v", look, err)
	}
	return look.Hash
}

func scaled(photo image.Image, by int) *image.RGBA {
	small := image.NewRGBA(image.Rect(0, 0, photo.Bounds().Dx()/by, photo.Bounds().Dy()/by))
	draw.CatmullRom.Scale(small, small.Bounds(), photo, photo.Bounds(), draw.Src, nil)
	return small
}

func brightened(photo *image.RGBA, by int) *image.RGBA {
	out := image.NewRGBA(photo.Bounds())
	for i, value := range photo.Pix {
		if out.Pix[i] = value; i%4 != 3 {
			out.Pix[i] = uint8(max(0, min(255, int(value)+by)))
		}
	}
	return out
}

func cropped(photo *image.RGBA, share float64) *image.RGBA {
	dx, dy := int(float64(photo.Bounds().Dx())*share), int(float64(photo.Bounds().Dy())*share)
	out := image.NewRGBA(image.Rect(0, 0, photo.Bounds().Dx()-2*dx, photo.Bounds().Dy()-2*dy))
	draw.Draw(out, out.Bounds(), photo, photo.Bounds().Min.Add(image.Pt(dx, dy)), draw.Src)
	return out
}
