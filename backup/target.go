package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cong1022/fieldsync/store/journal"
)

// Target is the seam between backups and whatever keeps them: objects under names with slashes, each written once. Folder is
// the one over a file system, S3 the one over an S3-compatible object store. All methods are safe for concurrent use.
type Target interface {
	// Put keeps the content of a file under name. It is durable when Put returns; before that List does not show it.
	Put(ctx context.Context, name string, content *os.File) error
	// Open returns what is kept under name.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the names that begin with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Remove removes what is kept under the names, in their order as far as the target has one. It is a success where nothing is. After
	// an error some may be gone.
	Remove(ctx context.Context, names []string) error
}

// Folder is a Target in a folder: on another disk, or on what another machine lends.
type Folder string

// Put implements Target.
func (f Folder) Put(_ context.Context, name string, content *os.File) error {
	err := f.put(name, content)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errFull(err)
	}
	return err
}

func (f Folder) put(name string, content *os.File) error {
	path := filepath.Join(string(f), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".unfinished-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	for dir := filepath.Dir(path); len(dir) >= len(filepath.Clean(string(f))); dir = filepath.Dir(dir) {
		if err := journal.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// Open implements Target.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), filepath.FromSlash(name)))
}

// List implements Target.
func (f Folder) List(_ context.Context, prefix string) (names []string, err error) {
	err = filepath.WalkDir(filepath.Join(string(f), filepath.FromSlash(path.Dir(prefix+"x"))), func(at string, entry os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // Nothing was ever put.
		}
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".unfinished-") {
			return err
		}
		name, err := filepath.Rel(string(f), at)
		if name = filepath.ToSlash(name); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// Remove implements Target.
func (f Folder) Remove(ctx context.Context, names []string) error {
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := os.Remove(filepath.Join(string(f), filepath.FromSlash(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// S3Options say which bucket, and with whose rights: to get, put and list objects, to remove them where not all are to be kept for ever,
// and to make the bucket if it is missing.
type S3Options struct {
	// Endpoint is the host and port, without a scheme.
	Endpoint, Region, Bucket string
	AccessKey, SecretKey     string
	// PlainHTTP leaves TLS out: for a store on the same machine, and for tests.
	PlainHTTP bool
}

// S3 is a Target in a bucket.
type S3 struct {
	client *minio.Client
	bucket string
}

// OpenS3 connects to the store and makes the bucket where it is missing.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	client, err := minio.New(o.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Region: o.Region, Secure: !o.PlainHTTP, MaxRetries: 3,
	})
	if err != nil {
		return nil, fmt.Errorf("backup store %q: %w", o.Endpoint, err)
	}
	exists, err := client.BucketExists(ctx, o.Bucket)
	if err == nil && !exists {
		err = client.MakeBucket(ctx, o.Bucket, minio.MakeBucketOptions{Region: o.Region})
	}
	if err != nil {
		return nil, fmt.Errorf("backup store %q, bucket %q: %w", o.Endpoint, o.Bucket, err)
	}
	return &S3{client, o.Bucket}, nil
}

// Put implements Target.
func (s *S3) Put(ctx context.Context, name string, content *os.File) error {
	info, err := content.Stat()
	if err != nil {
		return err
	}
	_, err = s.client.PutObject(ctx, s.bucket, name, content, info.Size(), minio.PutObjectOptions{})
	// MinIO's names for a bucket's quota and for full disks, and what others answer.
	switch resp := minio.ToErrorResponse(err); {
	case err == nil:
		return nil
	case resp.StatusCode == http.StatusInsufficientStorage, resp.Code == "XMinioStorageFull", strings.Contains(resp.Code, "QuotaExceeded"):
		return errFull(err)
	}
	return err
}

// Open implements Target.
func (s *S3) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.client.GetObject(ctx, s.bucket, name, minio.GetObjectOptions{})
}

// List implements Target.
func (s *S3) List(ctx context.Context, prefix string) (names []string, err error) {
	for object := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return nil, object.Err
		}
		names = append(names, object.Key)
	}
	slices.Sort(names)
	return names, nil
}

// Remove implements Target.
func (s *S3) Remove(ctx context.Context, names []string) error {
	going := make(chan minio.ObjectInfo)
	go func() {
		defer close(going)
		for _, name := range names {
			select {
			case going <- minio.ObjectInfo{Key: name}:
			case <-ctx.Done():
				return
			}
		}
	}()
	var failed error
	for result := range s.client.RemoveObjects(ctx, s.bucket, going, minio.RemoveObjectsOptions{}) {
		if failed == nil {
			failed = fmt.Errorf("removing %s: %w", result.ObjectName, result.Err)
		}
	}
	return errors.Join(failed, ctx.Err())
}
