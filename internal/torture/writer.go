package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// writers is how many write at the same time.
const writers = 64

// childVariable names the folder that this program, started again, writes to until it is ended.
const childVariable = "FIELDSYNC_TORTURE_CHILD"

// repositoryVariable names where it ships to.
const repositoryVariable = "FIELDSYNC_TORTURE_REPOSITORY"

// engineOptions make files full and superfluous within a round: the moments between two files are the dangerous ones.
func engineOptions(margins embedded.Margins) embedded.Options {
	return embedded.Options{
		Margins: margins, SegmentBytes: 1 << 20, CheckpointBytes: 2 << 20, SnapshotBytes: 4 << 20,
		ReserveBytes: margins.Bytes / 2,
	}
}

// write is a server reduced to its promises: 64 devices offer numbered mutations, each in a transaction that looks whether it
// is a repeat. What was acknowledged is told on out, a line each: writer and number. What is turned away is offered again.
//
// With a repository it ships its backup there, tells with each number where in the journal it is, and how far the backup goes.
func write(dir, repository string, margins embedded.Margins, out io.Writer) error {
	e, err := embedded.OpenWith(dir, engineOptions(margins))
	if err != nil {
		return err
	}
	var lines sync.Mutex
	say := func(format string, args ...any) {
		lines.Lock()
		defer lines.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	failures := make(chan error, writers+1)
	place := func() string { return "" }
	if repository != "" {
		place = func() string { return fmt.Sprintf(" %d", e.Journal().Last()) }
		go func() { failures <- ship(e, backup.Folder(repository), say) }()
	}
	for w := range writers {
		go func() {
			failures <- func() error {
				number, err := head(e, w)
				if err != nil {
					return err
				}
				// The answer to the newest may have been lost: it is offered again, and must take no effect.
				for number = max(number, 1); ; number++ {
					for {
						err := e.Update(context.Background(), func(kv store.KV) error { return mutate(kv, w, number) })
						if errors.Is(err, store.ErrNoSpace) {
							say("refused")
							time.Sleep(20 * time.Millisecond)
							continue
						}
						if err != nil {
							return err
						}
						break
					}
					say("%d %d%s", w, number, place())
				}
			}()
		}()
	}
	return <-failures
}

// ship sends all that is new, and says how far the backup goes, without a pause.
func ship(e *embedded.Engine, target backup.Target, say func(string, ...any)) error {
	shipper := backup.New(backup.Options{Engine: e, Target: target})
	for {
		if err := shipper.Ship(context.Background()); err != nil {
			return err
		}
		say("reach %d", shipper.Reached().Sequence)
		time.Sleep(20 * time.Millisecond)
	}
}

func headKey(w int) []byte    { return fmt.Appendf(nil, "head/%02d", w) }
func effectsKey(w int) []byte { return fmt.Appendf(nil, "effects/%02d", w) }
func logKey(w int, n uint64) []byte {
	return binary.BigEndian.AppendUint64(fmt.Appendf(nil, "log/%02d/", w), n)
}
func logEnd(w int) []byte { return fmt.Appendf(nil, "log/%02d0", w) }
func count(kv store.KV, key []byte) (uint64, error) {
	value, err := kv.Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	return strconv.ParseUint(string(value), 10, 64)
}

func head(e *embedded.Engine, w int) (number uint64, err error) {
	err = e.View(context.Background(), func(kv store.KV) error {
		number, err = count(kv, headKey(w))
		return err
	})
	return number, err
}

// mutate takes effect once for each number.
func mutate(kv store.KV, w int, number uint64) error {
	newest, err := count(kv, headKey(w))
	if err != nil || number <= newest {
		return err
	}
	if number != newest+1 {
		return fmt.Errorf("writer %d offers %d after %d", w, number, newest)
	}
	effects, err := count(kv, effectsKey(w))
	if err != nil {
		return err
	}
	return errors.Join(
		kv.Set(logKey(w, number), append(strconv.AppendUint(nil, number, 10), make([]byte, 400)...)),
		kv.Set(headKey(w), strconv.AppendUint(nil, number, 10)),
		kv.Set(effectsKey(w), strconv.AppendUint(nil, effects+1, 10)))
}

// tally is what a writer's records say against what it was told.
func tally(e *embedded.Engine, acknowledged *[writers]uint64) (lost, doubled uint64, err error) {
	err = e.View(context.Background(), func(kv store.KV) error {
		for w, told := range acknowledged {
			newest, err := count(kv, headKey(w))
			if err != nil {
				return err
			}
			effects, err := count(kv, effectsKey(w))
			if err != nil {
				return err
			}
			if newest < told {
				lost += told - newest
			}
			if effects > newest {
				doubled += effects - newest
			}
			next := uint64(1)
			for pair, err := range kv.Range(logKey(w, 0), logEnd(w)) {
				if err != nil {
					return err
				}
				n := binary.BigEndian.Uint64(pair.Key[len(pair.Key)-8:])
				lost += n - next
				next = n + 1
			}
			if next <= newest {
				lost += newest + 1 - next
			}
		}
		return nil
	})
	return lost, doubled, err
}
