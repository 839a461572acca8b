package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scene is a picture of soft shapes, another one for each seed.
func scene(seed uint64, width, height int) *image.RGBA {
	random := rand.New(rand.NewPCG(seed, 7))
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	var waves [6][4]float64
	for i := range waves {
		waves[i] = [4]float64{random.Float64() * 14, random.Float64() * 14, random.Float64() * 6, random.Float64() * 30}
	}
	for y := range height {
		for x := range width {
			value := 128.0
			for _, w := range waves {
				value += w[3] * math.Sin(w[0]*float64(x)/float64(width)+w[1]*float64(y)/float64(height)+w[2])
			}
			grey := uint8(min(255, max(0, value)))
			picture.SetRGBA(x, y, color.RGBA{grey, grey / 2, 255 - grey, 255})
		}
	}
	return picture
}

func asJPEG(tb testing.TB, picture image.Image, quality int) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: quality}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(tb testing.TB, picture image.Image) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func looked(tb testing.TB, content []byte) Look {
	tb.Helper()
	look, err := Inspect(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		tb.Fatal(err)
	}
	return look
}

// Protects: what a whole photo shows is found, in each format that is decoded.
func TestWhole(t *testing.T) {
	picture := scene(1, 640, 400)
	for kind, content := range map[string][]byte{"image/jpeg": asJPEG(t, picture, 90), "image/png": asPNG(t, picture), "image/webp": webpFile()} {
		look := looked(t, content)
		if look.Damage != "" || look.MediaType != kind || len(look.Thumbnail) == 0 || look.Blurhash == "" || look.Width == 0 || look.Height == 0 {
			t.Errorf("%s: %+v", kind, look)
			continue
		}
		config, err := jpeg.DecodeConfig(bytes.NewReader(look.Thumbnail))
		if err != nil || max(config.Width, config.Height) > ThumbnailSide {
			t.Errorf("%s: thumbnail of %d by %d, %v", kind, config.Width, config.Height, err)
		}
	}
}

// Protects: a photo that is cut off or corrupt is never taken for a good one, and what is no photo is told apart.
func TestDamaged(t *testing.T) {
	picture := scene(2, 640, 400)
	whole := asJPEG(t, picture, 90)
	drawn := asPNG(t, picture)
	heic := heicFile(500)
	for _, test := range []struct {
		name    string
		content []byte
		want    Damage
	}{
		{"JPEG", whole, ""},
		{"JPEG with something behind it", append(bytes.Clone(whole), "motion photo"...), ""},
		{"JPEG without its last byte", whole[:len(whole)-1], Broken},
		{"half a JPEG", whole[:len(whole)/2], Broken},
		{"the head of a JPEG", whole[:20], Broken},
		{"JPEG with a hole", hole(whole), Broken},
		{"PNG", drawn, ""},
		{"animated PNG", animated(drawn), ""},
		{"half a PNG", drawn[:len(drawn)/2], Broken},
		{"PNG with a flipped bit", flip(drawn, len(drawn)/2), Broken},
		{"400 megapixels in 48 KB", hugePNG(20_000, 20_000), TooLarge},
		{"a PNG that says so and is empty", hugePNG(1<<31-1, 1<<31-1), Broken},
		{"51 megapixels", hugePNG(51_000, 1000), TooLarge},
		{"HEIC", heic, ""},
		{"half a HEIC", heic[:len(heic)/2], Broken},
		{"HEIC without its data", heicFile(-1), Broken},
		{"WebP", webpFile(), ""},
		{"half a WebP", webpFile()[:len(webpFile())/2], Broken},
		{"text", []byte("a photo, I promise"), NoImage},
		{"SVG", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), NoImage},
		{"nothing", nil, NoImage},
	} {
		look := looked(t, test.content)
		if look.Damage != test.want {
			t.Errorf("%s: %q, want %q", test.name, look.Damage, test.want)
		}
		if look.Damage != "" && (look.Thumbnail != nil || look.Hashed) {
			t.Errorf("%s: damaged, and yet with a thumbnail or a hash", test.name)
		}
	}
}

// Protects: a bomb costs next to nothing before it is refused.
func TestBombIsNotDecoded(t *testing.T) {
	bomb := hugePNG(20_000, 20_000)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		for range b.N {
			looked(b, bomb)
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("%d bytes allocated over a bomb of %d", allocated, len(bomb))
	}
}

// Protects: the camera's time is read with its offset, and as Vietnam's without; nonsense is no time.
func TestTaken(t *testing.T) {
	for _, test := range []struct {
		local, offset string
		want          string
		assumed       bool
	}{
		{"2026:03:02 15:04:05", "+07:00", "2026-03-02T08:04:05Z", false},
		{"2026:03:02 15:04:05", "-05:30", "2026-03-02T20:34:05Z", false},
		{"2026:03:02 15:04:05", "", "2026-03-02T08:04:05Z", true},
		{"2026:03:02 15:04:05", "nonsense", "2026-03-02T08:04:05Z", true},
		{"0000:00:00 00:00:00", "", "0001-01-01T00:00:00Z", false},
		{"", "+07:00", "0001-01-01T00:00:00Z", false},
	} {
		got, assumed := taken(test.local, test.offset)
		if got.Format(time.RFC3339) != test.want || assumed != test.assumed {
			t.Errorf("%q %q: %v %t, want %s %t", test.local, test.offset, got, assumed, test.want, test.assumed)
		}
	}
}

// Protects: EXIF of our own making is read from JPEG and PNG alike: time with offset, place, accuracy, and which way is up.
func TestMetadata(t *testing.T) {
	block := exifBlock(6)
	for kind, content := range map[string][]byte{
		"JPEG": withEXIF(asJPEG(t, scene(3, 400, 300), 80), block),
	} {
		look := looked(t, content)
		if want := time.Date(2026, 3, 2, 8, 4, 5, 0, time.UTC); !look.Taken.Equal(want) || look.Assumed {
			t.Errorf("%s: taken %v, assumed %t; want %v", kind, look.Taken, look.Assumed, want)
		}
		if p := look.Position; p == nil || math.Abs(p.Latitude-10.7769) > 1e-3 || math.Abs(p.Longitude-106.7009) > 1e-3 || p.AccuracyM != 12.5 {
			t.Errorf("%s: position %+v", kind, p)
		}
		config, err := jpeg.DecodeConfig(bytes.NewReader(look.Thumbnail))
		if err != nil || config.Width >= config.Height {
			t.Errorf("%s: the thumbnail of a picture on its side is %d by %d, %v", kind, config.Width, config.Height, err)
		}
		if bytes.Contains(look.Thumbnail, []byte("Exif")) {
			t.Errorf("%s: the thumbnail has metadata", kind)
		}
		public, err := Public(bytes.NewReader(content))
		if err != nil || bytes.Contains(public, []byte("Exif")) {
			t.Errorf("%s: the public copy has metadata, %v", kind, err)
		}
	}
}

// Protects: metadata made to exhaust a reader ends within bounds, and the picture is good all the same.
func TestMetadataBombs(t *testing.T) {
	photo := asJPEG(t, scene(4, 64, 64), 80)
	loop := exifBlock(1)
	binary.LittleEndian.PutUint32(loop[len(loop)-4:], 8)
	many := []byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
	for len(many) < 60_000 {
		many = append(many, 0x69, 0x87, 4, 0, 1, 0, 0, 0, 8, 0, 0, 0) // An IFD within itself.
	}
	for name, block := range map[string][]byte{"a loop": loop, "65,535 tags": many, "cut off": exifBlock(1)[:60]} {
		begun := time.Now()
		if look := looked(t, withEXIF(photo, block)); look.Damage != "" {
			t.Errorf("%s: %q", name, look.Damage)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// Protects: a copy that was made smaller, compressed or brightened is near its original; another scene is far; and what is
// too plain has no hash that would match every other plain one.
func TestPerceptualHash(t *testing.T) {
	original := looked(t, asJPEG(t, scene(5, 1200, 900), 90))
	bright := scene(5, 1200, 900)
	for i := range bright.Pix {
		if i%4 != 3 {
			bright.Pix[i] = uint8(min(255, int(bright.Pix[i])+12))
		}
	}
	for name, copied := range map[string][]byte{
		"smaller":    asJPEG(t, shrink(scene(5, 1200, 900), 640), 85),
		"compressed": asJPEG(t, scene(5, 1200, 900), 40),
		"brighter":   asJPEG(t, bright, 85),
		"as PNG":     asPNG(t, scene(5, 1200, 900)),
	} {
		if distance := Distance(original.Hash, looked(t, copied).Hash); distance > 6 {
			t.Errorf("%s: %d bits away", name, distance)
		}
	}
	for seed := uint64(10); seed < 40; seed++ {
		if distance := Distance(original.Hash, looked(t, asJPEG(t, scene(seed, 400, 300), 85)).Hash); distance <= 6 {
			t.Errorf("scene %d is %d bits away", seed, distance)
		}
	}
	if look := looked(t, asPNG(t, image.NewGray(image.Rect(0, 0, 300, 300)))); look.Hashed {
		t.Errorf("a black picture has the hash %x", look.Hash)
	}
}

// Protects: photos of real cameras, broken EXIF included.
func TestCameraPhotos(t *testing.T) {
	names, err := filepath.Glob("../../../shared/data/photos/*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Skip("no camera photos: ../shared/data/photos beside the project is absent; generated photos are tested all the same")
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		look := looked(t, content)
		t.Logf("%s: taken %v (assumed %t), position %+v, %q, %d by %d", filepath.Base(name), look.Taken, look.Assumed, look.Position, look.Damage, look.Width, look.Height)
		if !strings.HasPrefix(filepath.Base(name), "DSCN") {
			continue
		}
		// Tuscany, October 2008, by a camera that does not say its offset.
		if look.Damage != "" || look.Position == nil || math.Abs(look.Position.Latitude-43.467) > 0.01 || math.Abs(look.Position.Longitude-11.88) > 0.02 ||
			look.Taken.Year() != 2008 || !look.Assumed || len(look.Thumbnail) == 0 {
			t.Errorf("%s: %+v", name, look)
		}
	}
}

// Protects: the CPU of looking into a photo of 12 megapixels: under 200 ms.
func BenchmarkInspect12Megapixels(b *testing.B) {
	content := asJPEG(b, scene(6, 4000, 3000), 92)
	b.SetBytes(int64(len(content)))
	before := cpu(b)
	for b.Loop() {
		if look := looked(b, content); look.Damage != "" {
			b.Fatal(look.Damage)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func hole(content []byte) []byte {
	holed := bytes.Clone(content)
	clear(holed[len(holed)/3 : len(holed)/2])
	return holed
}

func flip(content []byte, at int) []byte {
	flipped := bytes.Clone(content)
	flipped[at] ^= 1
	return flipped
}

// animated is a PNG with the chunk that says how many pictures it has, one.
func animated(file []byte) []byte {
	chunk := append([]byte("acTL"), 0, 0, 0, 1, 0, 0, 0, 0)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk))
	const header = 33 // The signature and IHDR.
	return slices.Concat(file[:header], []byte{0, 0, 0, 8}, chunk, file[header:])
}

// hugePNG is a valid one-bit PNG of zeroes, or its beginning where that would be too long.
func hugePNG(width, height uint32) []byte {
	var file bytes.Buffer
	file.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		file.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
		file.WriteString(kind)
		file.Write(data)
		file.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(append([]byte(kind), data...))))
	}
	header := binary.BigEndian.AppendUint32(nil, width)
	header = binary.BigEndian.AppendUint32(header, height)
	chunk("IHDR", append(header, 1, 0, 0, 0, 0))
	if width < 1<<20 {
		var data bytes.Buffer
		packed := zlib.NewWriter(&data)
		row := make([]byte, 1+width/8)
		for range height {
			_, _ = packed.Write(row) // Into memory.
		}
		packed.Close()
		chunk("IDAT", data.Bytes())
	}
	chunk("IEND", nil)
	return file.Bytes()
}

// heicFile has the boxes of a HEIC with so many bytes of data; none at all where data is negative.
func heicFile(data int) []byte {
	box := func(kind string, content string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))) + kind + content
	}
	file := box("ftyp", "heic\x00\x00\x00\x00mif1heic") + box("meta", "\x00\x00\x00\x00")
	if data >= 0 {
		file += box("mdat", strings.Repeat("x", data))
	}
	return []byte(file)
}

// webpFile is the smallest lossless WebP: one pixel (developers.google.com/speed/webp/docs/riff_container).
func webpFile() []byte {
	return []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00")
}

// withEXIF puts an APP1 segment behind the start of a JPEG.
func withEXIF(photo, block []byte) []byte {
	segment := append([]byte{0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(block)+2))...)
	return append(append(bytes.Clone(photo[:2]), append(segment, block...)...), photo[2:]...)
}

// exifBlock says 15:04:05 at +07:00 on 2 March 2026, at 10°46'36.84"N 106°42'3.24"E give or take 12.5 m.
func exifBlock(orientation uint16) []byte {
	const exif, gps, heap = 8 + 2 + 3*12 + 4, 8 + 2 + 3*12 + 4 + 2 + 2*12 + 4, 8 + 2 + 3*12 + 4 + 2 + 2*12 + 4 + 2 + 5*12 + 4
	var tiff, values []byte
	entry := func(tag, kind uint16, count uint32, value []byte) {
		tiff = binary.LittleEndian.AppendUint16(tiff, tag)
		tiff = binary.LittleEndian.AppendUint16(tiff, kind)
		tiff = binary.LittleEndian.AppendUint32(tiff, count)
		if len(value) <= 4 {
			tiff = append(tiff, append(value, make([]byte, 4-len(value))...)...)
			return
		}
		tiff = binary.LittleEndian.AppendUint32(tiff, uint32(heap+len(values)))
		values = append(values, value...)
	}
	long := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	rationals := func(pairs ...uint32) (out []byte) {
		for _, v := range pairs {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
		return out
	}
	begin := func(entries uint16) { tiff = binary.LittleEndian.AppendUint16(tiff, entries) }
	end := func() { tiff = append(tiff, 0, 0, 0, 0) }

	tiff = append(tiff, "II*\x00\x08\x00\x00\x00"...)
	begin(3)
	entry(0x0112, 3, 1, binary.LittleEndian.AppendUint16(nil, orientation))
	entry(0x8769, 4, 1, long(exif))
	entry(0x8825, 4, 1, long(gps))
	end()
	begin(2)
	entry(0x9003, 2, 20, []byte("2026:03:02 15:04:05\x00"))
	entry(0x9011, 2, 7, []byte("+07:00\x00"))
	end()
	begin(5)
	entry(1, 2, 2, []byte("N\x00"))
	entry(2, 5, 3, rationals(10, 1, 46, 1, 3684, 100))
	entry(3, 2, 2, []byte("E\x00"))
	entry(4, 5, 3, rationals(106, 1, 42, 1, 324, 100))
	entry(0x1f, 5, 1, rationals(125, 10))
	end()
	return append(append([]byte("Exif\x00\x00"), tiff...), values...)
}
