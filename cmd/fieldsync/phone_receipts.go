package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func (c *phoneCLI) receipts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipts [FOLDER]",
		Short: "List the receipts of this phone's completions, or write them to a folder",
		Long: `List the receipts of this phone's completions. They come with the sync: the claim's at once, the seal's when every photo has
arrived; until then the phone deletes nothing of that work. With a FOLDER they are written there, as COMPLETION.tlog-proof, with the
log's public keys as log.pub, for "fieldsync verify".`,
		Example: `  fieldsync phone receipts
  fieldsync phone receipts ./receipts
  fieldsync verify --key ./receipts/log.pub ./receipts/06h0jd5yg9de4cg0423g.tlog-proof`,
		Args: cobra.MaximumNArgs(1),
	}
	return c.runs(cmd, func(_ context.Context, s *session, args []string) error {
		held, err := s.Receipts()
		if err != nil {
			return err
		}
		for _, r := range held {
			switch {
			case r.Sealed:
				s.printf("%s  công việc %s  đã niêm phong\n", "%s  task %s  sealed\n", r.CompletionID, r.TaskID)
			case r.Superseded:
				s.printf("%s  công việc %s  đã khai, rồi công việc được mở lại và có kết quả khác thay thế\n",
					"%s  task %s  claimed, then the task was opened again, and another completion took its place\n", r.CompletionID, r.TaskID)
			case len(r.Text) > 0:
				s.printf("%s  công việc %s  đã khai, chờ ảnh\n", "%s  task %s  claimed, waiting for photos\n", r.CompletionID, r.TaskID)
			default:
				s.printf("%s  công việc %s  chưa nhận được biên nhận\n", "%s  task %s  no receipt yet\n", r.CompletionID, r.TaskID)
			}
		}
		if len(args) == 0 {
			return nil
		}
		folder := args[0]
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		keys, err := s.LogKeys()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := os.WriteFile(filepath.Join(folder, "log.pub"), keys, 0o600); err != nil {
				return err
			}
		}
		for _, r := range held {
			if len(r.Text) == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(folder, r.CompletionID+".tlog-proof"), r.Text, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}
