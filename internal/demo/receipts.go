package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// keepReceipts fetches the receipt of each completion and the log's public key, checks every receipt and every photo against
// nothing but the key, and leaves all of it in the data folder.
func (s *story) keepReceipts(ctx context.Context) (text, error) {
	keyFile, err := s.published(ctx, "fieldsync-log-keys.txt")
	if err != nil {
		return text{}, err
	}
	keys, err := receipt.ParseKeys(keyFile)
	if err != nil {
		return text{}, err
	}
	folder := filepath.Join(s.options.Data, "receipts")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return text{}, err
	}
	photos := 0
	var leaves int64
	for _, completion := range s.sealed {
		got, err := fieldsyncv1connect.NewProofServiceClient(s.hotline.Client(), s.server.URL()).
			GetReceipt(ctx, &fieldsyncv1.GetReceiptRequest{CompletionId: completion.GetId()})
		if err != nil {
			return text{}, err
		}
		proven, err := receipt.Verify(got.GetReceipt(), keys)
		if err != nil {
			return text{}, err
		}
		if err := expect(proven.Kind == receipt.Sealed && proven.Record.GetCompletionId() == completion.GetId(),
			"the receipt of %s proves %s of %s", completion.GetId(), proven.Kind, proven.Record.GetCompletionId()); err != nil {
			return text{}, err
		}
		if err := expect(proven.Claim.GetDeviceId() == proven.Record.GetDeviceId(), "the device did not sign %s", completion.GetId()); err != nil {
			return text{}, err
		}
		for _, file := range s.photos[proven.Record.GetHotlineId()] {
			original, err := os.ReadFile(file)
			if err != nil {
				return text{}, err
			}
			if _, err := proven.Photo(original); err != nil {
				return text{}, err
			}
			photos++
		}
		if err := os.WriteFile(filepath.Join(folder, completion.GetId()+".tlog-proof"), got.GetReceipt(), 0o600); err != nil {
			return text{}, err
		}
		leaves = proven.Checkpoint.Size
	}
	// The hotline's acknowledgements are leaves too: two completions, each claimed, sealed and delivered.
	return say("%[1]d biên nhận, %[2]d ảnh, nhật ký %[3]d mục: kiểm được không cần máy chủ",
			"%[1]d receipts, %[2]d photos, %[3]d leaves in the log: checked without the server", len(s.sealed), photos, leaves),
		errors.Join(expect(photos == 4 && leaves == 6, "%d photos and %d leaves, 4 and 6 are expected", photos, leaves),
			os.WriteFile(filepath.Join(s.options.Data, "log.pub"), keyFile, 0o600))
}
