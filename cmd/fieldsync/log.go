package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

func (o operator) proofs() fieldsyncv1connect.ProofServiceClient {
	return fieldsyncv1connect.NewProofServiceClient(o.Client(), o.server)
}

func newLogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Get receipts from the proof log, and check that it was never rewritten",
		Example: `  fieldsync log receipt 06h0jd5yg9de4cg0423g > 06h0jd5yg9de4cg0423g.tlog-proof
  fieldsync log check --key log.pub --pin last.checkpoint`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newLogReceiptCommand(profile), newLogCheckCommand(profile), newLogRotateCommand(profile), newLogWitnessCommand())
	return cmd
}

func newLogReceiptCommand(profile *string) *cobra.Command {
	var reopened bool
	cmd := &cobra.Command{
		Use:   "receipt COMPLETION",
		Short: "Print the receipt of a completion",
		Example: `  fieldsync log receipt 06h0jd5yg9de4cg0423g > 06h0jd5yg9de4cg0423g.tlog-proof
  fieldsync log receipt --reopened 06h0jd5yg9de4cg0423g > reopened.tlog-proof`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.proofs().GetReceipt(cmd.Context(), &fieldsyncv1.GetReceiptRequest{CompletionId: args[0]})
				if err != nil {
					return err
				}
				text := got.GetReceipt()
				if reopened {
					if text = got.GetReopened(); len(text) == 0 {
						return fault.New(fault.NotFound, "never_reopened",
							"Công việc chưa từng được mở lại sau kết quả này.", "The task was never reopened after this completion.")
					}
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&reopened, "reopened", false, "the receipt of the task's being opened again after this completion")
	return cmd
}

func newLogRotateCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use:     "rotate-key",
		Short:   "Make a new key for checkpoints, and print the key file; former keys sign beside it for 90 days",
		Example: `  fieldsync log rotate-key > log.pub`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.proofs().RotateLogKey(cmd.Context(), &fieldsyncv1.RotateLogKeyRequest{})
				fmt.Fprint(cmd.OutOrStdout(), got.GetKeys())
				return err
			})
		},
	}
}

func newLogCheckCommand(profile *string) *cobra.Command {
	var keyFile, pin, data, cosign string
	cmd := &cobra.Command{
		Use:   "check --key FILE [--pin FILE [--cosign FILE] | --data FOLDER] [RECEIPT-OR-CHECKPOINT...]",
		Short: "Prove that the log of earlier receipts and checkpoints is the beginning of today's",
		Long: `Ask the server (as this shell, see enrol) for the log's newest checkpoint, and prove that the log of each checkpoint or
receipt given is its beginning: nothing was changed, removed or put in between. With --pin the newest checkpoint is kept in a
file and compared with the next time: whoever runs this each day, outside of the city's servers, finds a log that was rewritten.

With --cosign too, the newest checkpoint is then cosigned with the key of a witness (fieldsync log new-witness) and handed to the
server, which serves it so and puts it into receipts. It takes a shell that is enrolled for the hotline or an admin.

With --data it reads a stopped server's data folder, or a copy of it, instead: every leaf is made anew from its completion, and
each checkpoint given must be one that this log had.

Chứng minh nhật ký của các biên nhận và điểm kiểm trước đây đúng là phần đầu của nhật ký hôm nay.`,
		Example: `  fieldsync log check --key log.pub --pin last.checkpoint
  fieldsync log check --key log.pub receipts/*.tlog-proof
  fieldsync log check --key log.pub --pin last.checkpoint --cosign witness.key
  fieldsync log check --key log.pub --data /var/lib/fieldsync receipts/*.tlog-proof`,
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the log's public keys, and those of witnesses, one a line")
	cmd.Flags().StringVar(&pin, "pin", "", "file that keeps the newest checkpoint from one check to the next")
	cmd.Flags().StringVar(&cosign, "cosign", "", "file with a witness's secret key: cosign what was checked and pinned")
	cmd.Flags().StringVar(&data, "data", "", "check the log in this data folder instead of asking the server")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // The flag is defined four lines above.
	}
	cmd.MarkFlagsMutuallyExclusive("pin", "data")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if cosign != "" && pin == "" {
			return fault.New(fault.Invalid, "pin_missing",
				"--cosign cần --pin: bên chứng kiến chỉ ký điểm kiểm nối tiếp điểm kiểm trước.", "--cosign needs --pin: a witness cosigns only what follows what it cosigned before.")
		}
		keys, err := readKeys(keyFile)
		if err != nil {
			return err
		}
		if pin != "" {
			if _, err := os.Stat(pin); err == nil {
				files = append(files, pin)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		earlier := make([]receipt.Checkpoint, len(files))
		for i, file := range files {
			if earlier[i], err = readCheckpoint(file, keys); err != nil {
				return inFile(file, err)
			}
		}
		var said string
		if data != "" {
			said, err = checkFolder(cmd.Context(), data, earlier, language(cmd))
		} else {
			err = asOperator(*profile, func(o operator) error {
				if said, err = checkServer(cmd.Context(), o, keys, earlier, pin, language(cmd)); err != nil || cosign == "" {
					return err
				}
				return cosignPinned(cmd.Context(), o, pin, cosign)
			})
		}
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), said)
		}
		return err
	}
	return cmd
}

// inFile says in both languages which file an error is about.
func inFile(file string, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		named := *f
		named.Vi, named.En = file+": "+f.Vi, file+": "+f.En
		return &named
	}
	return err // The system's errors name it already.
}

// readCheckpoint reads a file that is a checkpoint or a receipt, and checks it.
func readCheckpoint(file string, keys receipt.Keys) (receipt.Checkpoint, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return receipt.Checkpoint{}, err
	}
	if bytes.HasPrefix(text, []byte("c2sp.org/tlog-proof@")) {
		proven, err := receipt.Verify(text, keys)
		if err != nil {
			return receipt.Checkpoint{}, err
		}
		return proven.Checkpoint.Checkpoint, nil
	}
	signed, err := receipt.OpenCheckpoint(text, keys)
	return signed.Checkpoint, err
}

// checkServer proves each earlier checkpoint to be the beginning of the server's newest, which it then pins.
func checkServer(ctx context.Context, o operator, keys receipt.Keys, earlier []receipt.Checkpoint, pin, lang string) (string, error) {
	newest, err := o.proofs().GetCheckpoint(ctx, &fieldsyncv1.GetCheckpointRequest{})
	if err != nil {
		return "", err
	}
	signed, err := receipt.OpenCheckpoint([]byte(newest.GetCheckpoint()), keys)
	if err != nil {
		return "", err
	}
	for _, checkpoint := range earlier {
		// Each has its own proof, and its own newest checkpoint: the log goes on meanwhile.
		got, err := o.proofs().GetCheckpoint(ctx, &fieldsyncv1.GetCheckpointRequest{SinceSize: uint64(checkpoint.Size)}) //nolint:gosec // Not negative.
		if err != nil {
			return "", err
		}
		if signed, err = receipt.OpenCheckpoint([]byte(got.GetCheckpoint()), keys); err != nil {
			return "", err
		}
		hashes := make([]tlog.Hash, len(got.GetConsistency()))
		for i, hash := range got.GetConsistency() {
			copy(hashes[i][:], hash) // One of another length is a wrong hash.
		}
		if err := receipt.CheckConsistency(checkpoint, signed.Checkpoint, hashes); err != nil {
			return "", err
		}
		newest = got
	}
	if pin != "" {
		if err := replaceFile(pin, []byte(newest.GetCheckpoint())); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(sentence("✓ Nhật ký %s có %d mục; %d điểm kiểm trước đây đều là phần đầu của nó.",
		"✓ The log %s has %d leaves; %d earlier checkpoints are all its beginning.", lang), signed.Origin, signed.Size, len(earlier)), nil
}

func checkFolder(ctx context.Context, data string, earlier []receipt.Checkpoint, lang string) (said string, err error) {
	folder := filepath.Join(data, "store")
	if _, err := os.Stat(folder); err != nil { // Opening would make one.
		return "", err
	}
	engine, err := embedded.Open(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	st, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return "", err
	}
	if err := proof.Audit(ctx, st); errors.Is(err, proof.ErrAudit) {
		return "", fault.New(fault.DataLoss, "log_damaged",
			fmt.Sprintf("Nhật ký và các báo cáo trong thư mục không khớp nhau: %v.", err),
			fmt.Sprintf("The folder's log and its completions do not fit together: %v.", err))
	} else if err != nil {
		return "", err
	}
	for _, checkpoint := range earlier {
		if err := proof.CheckCheckpoint(ctx, st, checkpoint); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(sentence("✓ Mọi mục của nhật ký khớp với báo cáo của nó; %d điểm kiểm trước đây đều là phần đầu của nhật ký.",
		"✓ Every leaf of the log fits its completion; %d earlier checkpoints are all the log's beginning.", lang), len(earlier)), nil
}

// replaceFile puts content in the file's place as a whole: what was pinned is there or what is pinned now.
func replaceFile(file string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".pin-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
