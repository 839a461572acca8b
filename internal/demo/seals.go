package demo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof"
)

// checkSeals pulls the completions as the hotline does, and checks each with nothing but the published key and the files.
func (s *story) checkSeals(ctx context.Context) (text, error) {
	keys, err := s.proofKeys(ctx)
	if err != nil {
		return text{}, err
	}
	var cursor []byte
	for more := true; more; {
		page, err := s.line1022().ListCompletions(ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Limit: 1})
		if err != nil {
			return text{}, err
		}
		s.sealed = append(s.sealed, page.GetCompletions()...)
		cursor, more = page.GetCursor(), page.GetMore()
	}
	if err := expect(len(s.sealed) == 2, "%d sealed completions, 2 are expected", len(s.sealed)); err != nil {
		return text{}, err
	}
	photos := 0
	for _, completion := range s.sealed {
		record, err := proof.Verify(keys[completion.GetKeyId()], completion)
		if err != nil {
			return text{}, err
		}
		for i, photo := range record.GetPhotos() {
			file, err := os.ReadFile(s.photos[record.GetHotlineId()][i])
			if err != nil {
				return text{}, err
			}
			sum := sha256.Sum256(file)
			if !bytes.Equal(sum[:], photo.GetSha256()) {
				return text{}, fmt.Errorf("photo %s of %s has another hash than the file on the phone", photo.GetPhotoId(), record.GetHotlineId())
			}
			photos++
		}
	}
	return say("2 chữ ký đúng, %[1]d mã ảnh khớp với tệp gốc", "2 signatures good, %[1]d photo hashes match the originals", photos),
		expect(photos == 4, "%d photos are proven, 4 were taken", photos)
}

// proofKeys are the public keys with which completions are signed.
func (s *story) proofKeys(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	said, err := s.published(ctx, "fieldsync-proof-keys.json")
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
			X   string `json:"x"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(said, &set); err != nil {
		return nil, err
	}
	keys := make(map[string]ed25519.PublicKey)
	for _, key := range set.Keys {
		if keys[key.Kid], err = base64.RawURLEncoding.DecodeString(key.X); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// published fetches what the server tells everybody.
func (s *story) published(ctx context.Context, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL()+"/.well-known/"+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", name, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
