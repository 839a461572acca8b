package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/cong1022/fieldsync/media"
)

const (
	staged = "stg/"
	// pieceBytes is the largest piece, and what an upload under way holds in memory. A node that dies takes as much with it.
	pieceBytes = 256 << 10
	// pieceTimeout bounds the writing of a piece whose phone is gone already.
	pieceTimeout = 30 * time.Second
)

// Spool keeps the bytes of open uploads as objects stg/<upload>/c-<offset, 12 digits>, each written once (If-None-Match). So the
// pieces of an upload are a chain whatever two nodes do at the same time: of two that write at one offset, one succeeds, and
// whoever goes on begins where that one has ended. Any node resumes and commits what any other has begun.
type Spool struct{ blobs *Blobs }

var _ media.Spool = Spool{}

// Spool returns the spool in the same bucket. It is an error where the store does not refuse to overwrite an object.
func (b *Blobs) Spool() (Spool, error) {
	if !b.can.WriteOnce {
		return Spool{}, errors.New("the object store ignores If-None-Match, so several nodes cannot share uploads: keep the spool in a folder (media.spool)")
	}
	return Spool{b}, nil
}

// piece is an object of an upload.
type piece struct {
	key          string
	offset, size int64
	at           time.Time
}

func pieceKey(id string, offset int64) string { return fmt.Sprintf("%s%s/c-%012d", staged, id, offset) }

// pieces lists the chain of an upload, from its first byte on.
func (s Spool) pieces(ctx context.Context, id string) (chain []piece, end int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for object := range s.blobs.client.ListObjectsIter(ctx, s.blobs.bucket, minio.ListObjectsOptions{Prefix: staged + id + "/", Recursive: true}) {
		if object.Err != nil {
			return nil, 0, fmt.Errorf("listing the pieces of an upload: %w", object.Err)
		}
		offset, err := strconv.ParseInt(strings.TrimPrefix(object.Key, staged+id+"/c-"), 10, 64)
		if err != nil || offset != end {
			continue // What is left of an upload that is being removed, from its end on.
		}
		chain = append(chain, piece{object.Key, offset, object.Size, object.LastModified})
		end += object.Size
	}
	return chain, end, nil
}

// Size implements media.Spool.
func (s Spool) Size(ctx context.Context, id string) (int64, error) {
	_, end, err := s.pieces(ctx, id)
	return end, err
}

// Changed implements media.Spool.
func (s Spool) Changed(ctx context.Context, id string) (time.Time, error) {
	chain, _, err := s.pieces(ctx, id)
	if err != nil || len(chain) == 0 {
		return time.Time{}, err
	}
	return chain[len(chain)-1].at, nil
}

// Append implements media.Spool. A piece is written when it is full and when src ends, with the time that it takes: that the phone
// is gone by then is no reason to lose what it has sent.
func (s Spool) Append(ctx context.Context, id string, offset int64, src io.Reader) (kept int64, err error) {
	ctx = context.WithoutCancel(ctx)
	buffer := make([]byte, pieceBytes)
	for {
		n, readErr := io.ReadFull(src, buffer)
		if n > 0 {
			if err := s.write(ctx, pieceKey(id, offset+kept), buffer[:n]); err != nil {
				return kept, err
			}
			kept += int64(n)
		}
		switch {
		case errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF):
			return kept, nil
		case readErr != nil:
			return kept, readErr
		}
	}
}

func (s Spool) write(ctx context.Context, key string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, pieceTimeout)
	defer cancel()
	sum := sha256.Sum256(content)
	options := minio.PutObjectOptions{
		DisableMultipart: true,
		UserMetadata:     map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])},
	}
	options.SetMatchETagExcept("*")
	_, err := s.blobs.client.PutObject(ctx, s.blobs.bucket, key, bytes.NewReader(content), int64(len(content)), options)
	switch {
	case err == nil:
		return nil
	case status(err) != http.StatusPreconditionFailed:
		return fmt.Errorf("keeping a piece of an upload: %w", err)
	}
	// Somebody was faster; or this request was, and its answer was lost and minio-go has repeated it.
	if same, err := s.is(ctx, key, content); err != nil || !same {
		return errors.Join(err, media.ErrSpoolOffset)
	}
	return nil
}

func (s Spool) is(ctx context.Context, key string, content []byte) (bool, error) {
	object, err := s.blobs.client.GetObject(ctx, s.blobs.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return false, err
	}
	defer object.Close()
	kept, err := io.ReadAll(io.LimitReader(object, pieceBytes+1))
	return bytes.Equal(kept, content), err
}

// Open implements media.Spool.
func (s Spool) Open(ctx context.Context, id string) (io.ReadSeekCloser, int64, error) {
	chain, end, err := s.pieces(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if len(chain) == 0 {
		return nil, 0, fs.ErrNotExist
	}
	return &chainReader{ctx: ctx, blobs: s.blobs, chain: chain, end: end}, end, nil
}

// Remove implements media.Spool: from the end on, so that what is left of it by a crash, or seen by others meanwhile, is the
// beginning of the upload.
func (s Spool) Remove(ctx context.Context, id string) error {
	var keys []string
	for object := range s.blobs.client.ListObjectsIter(ctx, s.blobs.bucket, minio.ListObjectsOptions{Prefix: staged + id + "/", Recursive: true, WithVersions: s.blobs.can.ObjectLock}) {
		if object.Err != nil {
			return fmt.Errorf("listing the pieces of an upload: %w", object.Err)
		}
		keys = append(keys, object.Key+"\x00"+object.VersionID)
	}
	for _, key := range slices.Backward(keys) {
		name, version, _ := strings.Cut(key, "\x00")
		err := s.blobs.client.RemoveObject(ctx, s.blobs.bucket, name, minio.RemoveObjectOptions{VersionID: version})
		if err != nil && status(err) != http.StatusNotFound {
			return fmt.Errorf("removing a piece of an upload: %w", err)
		}
	}
	return nil
}

// List implements media.Spool.
func (s Spool) List(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kept := map[string]int64{}
	for object := range s.blobs.client.ListObjectsIter(ctx, s.blobs.bucket, minio.ListObjectsOptions{Prefix: staged, Recursive: true}) {
		if object.Err != nil {
			return nil, fmt.Errorf("listing uploads: %w", object.Err)
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(object.Key, staged), "/")
		kept[id] += object.Size
	}
	return kept, nil
}

// Full implements media.Spool: how much room a bucket has is not for its clients to know.
func (Spool) Full() bool { return false }

// chainReader reads the pieces of an upload as one content.
type chainReader struct {
	ctx     context.Context //nolint:containedctx // Of the one Open, as Spool says.
	blobs   *Blobs
	chain   []piece
	end     int64
	at      int64
	current io.ReadCloser // The piece that holds at; nil before it is asked for.
	ends    int64         // Where that piece ends.
}

// Read implements io.Reader.
func (c *chainReader) Read(p []byte) (int, error) {
	for {
		if c.current == nil {
			if c.at >= c.end {
				return 0, io.EOF
			}
			if err := c.openPiece(); err != nil {
				return 0, err
			}
		}
		n, err := c.current.Read(p)
		c.at += int64(n)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if c.at < c.ends {
			return n, io.ErrUnexpectedEOF
		}
		if err := c.closePiece(); n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *chainReader) openPiece() error {
	for _, one := range c.chain {
		if c.at >= one.offset+one.size {
			continue
		}
		var options minio.GetObjectOptions
		if from := c.at - one.offset; from > 0 {
			if err := options.SetRange(from, 0); err != nil {
				return err
			}
		}
		object, err := c.blobs.client.GetObject(c.ctx, c.blobs.bucket, one.key, options)
		if err != nil {
			return fmt.Errorf("reading a piece of an upload: %w", err)
		}
		c.current, c.ends = object, one.offset+one.size
		return nil
	}
	return io.ErrUnexpectedEOF
}

func (c *chainReader) closePiece() error {
	if c.current == nil {
		return nil
	}
	err := c.current.Close()
	c.current = nil
	return err
}

// Seek implements io.Seeker.
func (c *chainReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.end
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	if offset != c.at {
		if err := c.closePiece(); err != nil {
			return 0, err
		}
	}
	c.at = offset
	return offset, nil
}

// Close implements io.Closer.
func (c *chainReader) Close() error { return c.closePiece() }
