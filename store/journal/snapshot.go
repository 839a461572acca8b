package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

const (
	snapshotSuffix = ".snapshot"
	// chunkBytes is how much of keys and values goes into one record of a snapshot.
	chunkBytes = 256 << 10
)

// Digest is the sum that tells whether two sets of keys and values are the same: see SnapshotEnd in the storage records.
type Digest struct {
	Keys uint64
	Sum  uint64
}

// Add counts a pair in.
func (d *Digest) Add(key, value []byte) {
	d.Keys++
	d.Sum += PairSum(key, value)
}

// PairSum is the share of a pair in a Digest.
func PairSum(key, value []byte) uint64 {
	var h xxhash.Digest
	h.Reset()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(key)))
	_, _ = h.Write(length[:]) // A hash takes everything.
	_, _ = h.Write(key)
	_, _ = h.Write(value)
	return h.Sum64()
}

// SnapshotInfo is what a folder's listing tells of a snapshot.
type SnapshotInfo struct {
	Path string
	// Position is the number of the last record that is in it.
	Position uint64
	Bytes    int64
}

// Snapshots lists the snapshots in a folder, oldest first.
func Snapshots(dir string) ([]SnapshotInfo, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+snapshotSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	infos := make([]SnapshotInfo, 0, len(paths))
	for _, path := range paths {
		var position uint64
		if _, err := fmt.Sscanf(filepath.Base(path), "%020d"+snapshotSuffix, &position); err != nil {
			continue // No name of ours.
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		infos = append(infos, SnapshotInfo{path, position, info.Size()})
	}
	return infos, nil
}

// WriteSnapshot writes the pairs, which are what the records of the journal up to position have come to, in the order of
// their keys. It is durable when WriteSnapshot returns; before that there is no file of its name.
func WriteSnapshot(dir string, position *storagev1.JournalPosition, at time.Time, pairs iter.Seq2[[]byte, []byte], failed func() error) (SnapshotInfo, error) {
	path := SnapshotPath(dir, position.GetSequence())
	unfinished := path + ".unfinished"
	file, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return SnapshotInfo{}, err
	}
	size, err := fillSnapshot(file, position, at, pairs)
	if err == nil && failed != nil {
		err = failed()
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return SnapshotInfo{}, errors.Join(fmt.Errorf("writing a snapshot: %w", err), os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return SnapshotInfo{}, err
	}
	return SnapshotInfo{path, position.GetSequence(), size}, SyncDir(dir)
}

func fillSnapshot(file io.Writer, position *storagev1.JournalPosition, at time.Time, pairs iter.Seq2[[]byte, []byte]) (int64, error) {
	w := bufio.NewWriterSize(file, 1<<20)
	id, number, size := position.GetJournal(), uint64(0), int64(fileHeader)
	if _, err := w.Write(newFileHeader(id, 1)); err != nil {
		return 0, err
	}
	var buf []byte
	put := func(record proto.Message) error {
		payload, err := proto.Marshal(record)
		if err != nil {
			return err
		}
		number++
		buf = appendFrame(buf[:0], id, number, payload)
		size += int64(len(buf))
		_, err = w.Write(buf)
		return err
	}
	var digest Digest
	chunk, bytes := new(storagev1.JournalBatch), 0
	for key, value := range pairs {
		digest.Add(key, value)
		chunk.Writes = append(chunk.Writes, &storagev1.JournalWrite{Key: key, Value: value})
		if bytes += len(key) + len(value); bytes < chunkBytes {
			continue
		}
		if err := put(chunk); err != nil {
			return 0, err
		}
		chunk, bytes = new(storagev1.JournalBatch), 0
	}
	if len(chunk.GetWrites()) > 0 {
		if err := put(chunk); err != nil {
			return 0, err
		}
	}
	if err := put(&storagev1.SnapshotEnd{Position: position, At: timestamppb.New(at), Keys: digest.Keys, Digest: digest.Sum}); err != nil {
		return 0, err
	}
	return size, w.Flush()
}

// ReadSnapshot gives the pairs of a snapshot to yield, in the order of their keys, and returns how it ends: only then is it
// known to be whole. Anything that is not as it was written is a *DamageError.
func ReadSnapshot(path string, yield func(writes []*storagev1.JournalWrite) error) (*storagev1.SnapshotEnd, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	header := make([]byte, fileHeader)
	if _, err := io.ReadFull(file, header); err != nil {
		return nil, &DamageError{File: path, Err: errFileHeader}
	}
	id, _, err := parseFileHeader(header)
	if err != nil {
		return nil, &DamageError{File: path, Err: err}
	}
	r := &frameReader{r: bufio.NewReaderSize(file, 1<<20), journal: id, offset: fileHeader}
	damaged := func(number uint64, err error) error { return &DamageError{path, r.offset, number, err} }
	var digest Digest
	// A record is only known not to be the last when there is another one behind it.
	var held []byte
	for number := uint64(1); ; number++ {
		f, payload, err := r.next()
		if errors.Is(err, io.EOF) {
			end := new(storagev1.SnapshotEnd)
			if held == nil || proto.Unmarshal(held, end) != nil || end.GetPosition().GetJournal() != id ||
				end.GetKeys() != digest.Keys || end.GetDigest() != digest.Sum {
				return nil, damaged(number, errors.New("the snapshot is not whole"))
			}
			return end, nil
		}
		if err == nil && f.sequence != number {
			err = fmt.Errorf("record %d stands in its place", f.sequence)
		}
		if err != nil {
			return nil, damaged(number, err)
		}
		if held != nil {
			batch := new(storagev1.JournalBatch)
			if err := proto.Unmarshal(held, batch); err != nil {
				return nil, damaged(number-1, err)
			}
			for _, w := range batch.GetWrites() {
				digest.Add(w.GetKey(), w.GetValue())
			}
			if err := yield(batch.GetWrites()); err != nil {
				return nil, err
			}
		}
		held = append(held[:0], payload...)
	}
}
