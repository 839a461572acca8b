package proof

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Protects the log at the size of years of a city: at a million leaves, in a real store, every hundredth-thousandth leaf can be
// proven and verified, and the root is the library's. It tells what that costs beside the library alone, whose hashes lie in
// memory; the figures are logged (-v), not judged.
func TestMillionLeaves(t *testing.T) {
	size := 1_000_000
	if testing.Short() {
		size = 10_000
		t.Log("-short: the log has 10,000 leaves, not 1,000,000")
	}
	said, err := proto.MarshalOptions{Deterministic: true}.Marshal(completionRecord(
		completed("t", verified, verified).GetTask(), &storagev1.Completion{Id: "06h0jd5yg9de4cg0423g", MemberId: "an"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	engine, err := embedded.Open(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), engine, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}

	leaf, _, err := receipt.NewLeaf(receipt.Sealed, said, tlog.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var alone library
	for n := range size {
		hashes, err := tlog.StoredHashes(int64(n), leaf.Bytes(), alone)
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, hashes...)
	}
	appendAlone := time.Since(began)

	const together = 1000
	began = time.Now()
	for n := 0; n < size; n += together {
		err := st.Update(t.Context(), func(tx *store.Tx) error {
			for range together {
				if _, err := appendLeaf(tx, &storagev1.TaskRecord{}, "06h0jd5yg9de4cg0423g", receipt.Sealed, said); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	appendOurs := time.Since(began)

	const proofs = 1000
	var proveAlone, proveOurs, verifyAlone, verifyOurs time.Duration
	var keys receipt.Keys
	var verifier note.Verifier
	err = st.View(t.Context(), func(tx *store.Tx) error {
		signing, _, err := s.logKeys(tx)
		if err != nil {
			return err
		}
		signer, err := newNoteSigner(signing[0])
		if err != nil {
			return err
		}
		verifier = signer.Verifier
		keys, err = receipt.ParseKeys([]byte(signer.text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	bytesOfReceipt := 0
	for i := range proofs {
		index := int64(i) * int64(size) / proofs
		began = time.Now()
		root, err := tlog.TreeHash(int64(size), alone)
		if err != nil {
			t.Fatal(err)
		}
		path, err := tlog.ProveRecord(int64(size), index, alone)
		if err != nil {
			t.Fatal(err)
		}
		proveAlone += time.Since(began)

		var text []byte
		began = time.Now()
		err = st.View(t.Context(), func(tx *store.Tx) error {
			text, err = s.receipt(tx, &storagev1.Completion{SealedLeaf: uint64(index + 1), Record: said})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		proveOurs += time.Since(began)
		bytesOfReceipt = len(text)

		parsed, err := receipt.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := note.Open(parsed.Checkpoint, note.VerifierList(verifier)); err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(path, int64(size), root, index, tlog.RecordHash(leaf.Bytes())); err != nil {
			t.Fatal(err)
		}
		verifyAlone += time.Since(began)
		began = time.Now()
		if proven, err := receipt.Verify(text, keys); err != nil || proven.Index != index || proven.Checkpoint.Root != root {
			t.Fatalf("leaf %d: %v, %v", index, proven, err)
		}
		verifyOurs += time.Since(began)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	figure := func(what string, ours, alone time.Duration, n int) {
		t.Logf("%-8s %9.2f µs, the library alone %9.2f µs: %.2f", what, float64(ours.Microseconds())/float64(n),
			float64(alone.Microseconds())/float64(n), float64(ours)/float64(alone))
	}
	t.Logf("%d leaves, %d processors", size, runtime.GOMAXPROCS(0))
	figure("append", appendOurs, appendAlone, size)
	figure("prove", proveOurs, proveAlone, proofs)
	figure("verify", verifyOurs, verifyAlone, proofs)
	disk := folderSize(t, folder)
	t.Logf("%-8s %9.1f B a leaf, the library alone %9.1f B: %.2f; a receipt %d B", "size", float64(disk)/float64(size),
		float64(len(alone)*tlog.HashSize)/float64(size), float64(disk)/float64(len(alone)*tlog.HashSize), bytesOfReceipt)
}

func folderSize(t *testing.T, folder string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("sizing %s: %w", path, err)
		}
		size += info.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
