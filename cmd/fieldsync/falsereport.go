package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

func (o operator) falseReports() fieldsyncv1connect.FalseReportServiceClient {
	return fieldsyncv1connect.NewFalseReportServiceClient(o.Client(), o.server)
}

func newFalseReportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "false-report",
		Short: "Look at the dossier of a ticket at which a crew found nothing, and decide whether it was a false report",
		Long: `A crew says that it found nothing. That the report was false ("tin báo giả") a second person confirms, on the dossier that "show"
prints: visits, photos, times, similar calls. It names no citizen. A decision stands in the proof log and can be taken back.`,
		Example: `  fieldsync false-report show 1022-2026-00042
  fieldsync false-report confirm 1022-2026-00042 --dossier 5d41... "hai lần đến, camera không thấy gì"
  fieldsync false-report reverse 1022-2026-00042 "nhầm địa chỉ"
  fieldsync false-report export 1022-2026-00042 dossier.zip
  fieldsync false-report figures 2026-10 2026-11`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newDossierCommand(profile), newConfirmCommand(profile), newReverseCommand(profile), newExportCommand(profile), newFiguresCommand(profile))
	return cmd
}

func newDossierCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "show TICKET", Short: "Print the dossier of a ticket and its hash", Args: cobra.ExactArgs(1),
		Example: `  fieldsync false-report show 1022-2026-00042`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.falseReports().GetDossier(cmd.Context(), &fieldsyncv1.GetDossierRequest{HotlineId: args[0]})
				if err != nil {
					return err
				}
				w := cmd.OutOrStdout()
				fmt.Fprintln(w, protojson.Format(got.GetDecoded()))
				for _, d := range got.GetDecisions() {
					fmt.Fprintln(w, protojson.Format(d))
				}
				_, err = fmt.Fprintf(w, "%s %x\n", sentence("Hồ sơ (--dossier):", "Dossier (--dossier):", language(cmd)), got.GetSha256())
				return err
			})
		},
	}
}

func newConfirmCommand(profile *string) *cobra.Command {
	var dossier string
	cmd := &cobra.Command{
		Use: "confirm TICKET REASON --dossier HASH", Short: "Confirm that the report was false, on the dossier with this hash", Args: cobra.ExactArgs(2),
		Example: `  fieldsync false-report confirm 1022-2026-00042 --dossier 5d41... "hai lần đến, camera không thấy gì"`,
	}
	cmd.Flags().StringVar(&dossier, "dossier", "", "hash of the dossier, as show prints it")
	must(cmd.MarkFlagRequired("dossier"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var sum []byte
		if _, err := fmt.Sscanf(dossier, "%x", &sum); err != nil || len(sum) != sha256.Size {
			return fault.New(fault.Invalid, "dossier_hash_invalid",
				"--dossier phải là 64 chữ số thập lục phân, như lệnh show in ra.", "--dossier is 64 hexadecimal digits, as show prints them.")
		}
		return asOperator(*profile, func(o operator) error {
			_, err := o.falseReports().ConfirmFalseReport(cmd.Context(), &fieldsyncv1.ConfirmFalseReportRequest{
				HotlineId: args[0], DossierSha256: sum, Reason: args[1],
			})
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("%s: đã xác nhận tin báo giả\n", "%s: confirmed as a false report\n", language(cmd)), args[0])
			}
			return err
		})
	}
	return cmd
}

func newReverseCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "reverse TICKET REASON", Short: "Take a confirmation back", Args: cobra.ExactArgs(2),
		Example: `  fieldsync false-report reverse 1022-2026-00042 "nhầm địa chỉ"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				_, err := o.falseReports().ReverseFalseReport(cmd.Context(), &fieldsyncv1.ReverseFalseReportRequest{HotlineId: args[0], Reason: args[1]})
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), sentence("%s: đã rút lại xác nhận\n", "%s: taken back\n", language(cmd)), args[0])
				}
				return err
			})
		},
	}
}

func newExportCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "export TICKET FILE", Short: "Write the decision, its dossier, the receipts and the photos to one sealed file", Args: cobra.ExactArgs(2),
		Long: `Write a zip of the dossier on which the decision rests (dossier.pb, and readable as dossier.json), the receipts of the decision and of
the completion (for "fieldsync verify"), and the original of each photo. It is sealed by the log: the decision's receipt has the hash of
dossier.pb, the completion's those of the photos. What was decided last is in it, a reversal too.`,
		Example: `  fieldsync false-report export 1022-2026-00042 dossier.zip
  unzip dossier.zip && fieldsync verify --key log.pub decision.tlog-proof photos/*`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.falseReports().ExportFalseReport(cmd.Context(), &fieldsyncv1.ExportFalseReportRequest{HotlineId: args[0]})
				if err != nil {
					return err
				}
				content, err := sealedFile(cmd, o, got)
				if err != nil {
					return err
				}
				return replaceFile(args[1], content)
			})
		},
	}
}

// sealedFile is the zip of an export. A photo that does not have the hash of the dossier is an error: then nothing is written.
func sealedFile(cmd *cobra.Command, o operator, got *fieldsyncv1.ExportFalseReportResponse) ([]byte, error) {
	dossier := &fieldsyncv1.Dossier{}
	if err := proto.Unmarshal(got.GetDossier(), dossier); err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"dossier.pb": got.GetDossier(), "dossier.json": []byte(protojson.Format(dossier)),
		"decision.tlog-proof": got.GetDecisionReceipt(), "completion.tlog-proof": got.GetCompletionReceipt(),
	}
	names := []string{"dossier.pb", "dossier.json", "decision.tlog-proof", "completion.tlog-proof"}
	for _, photo := range dossier.GetPhotos() {
		id := photo.GetFact().GetPhotoId()
		original, err := download(cmd, o, "/v1/tasks/"+got.GetTaskId()+"/photos/"+id)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(original); !bytes.Equal(sum[:], photo.GetFact().GetSha256()) {
			return nil, fault.New(fault.DataLoss, "photo_unproven",
				"Ảnh "+id+" trên máy chủ không đúng mã băm của hồ sơ.", "The photo "+id+" on the server does not have the hash of the dossier.")
		}
		names = append(names, "photos/"+id)
		files["photos/"+id] = original
	}
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	for _, name := range names {
		w, err := archive.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxOriginal is the largest photo that the API takes.
const maxOriginal = 50 << 20

func download(cmd *cobra.Command, o operator, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, o.server+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := o.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // Read only.
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxOriginal+1))
}

func newFiguresCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "figures FROM-MONTH [TO-MONTH]", Short: "Count, per month and category, what was found to be nothing, false, and not false after all",
		Args:    cobra.RangeArgs(1, 2),
		Example: `  fieldsync false-report figures 2026-10 2026-11`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.falseReports().ListFalseReportFigures(cmd.Context(), &fieldsyncv1.ListFalseReportFiguresRequest{
					FromMonth: args[0], ToMonth: args[len(args)-1],
				})
				if err != nil {
					return err
				}
				w := cmd.OutOrStdout()
				fmt.Fprintln(w, strings.Join([]string{"month", "category", "nothing_found", "confirmed", "reversed"}, "\t"))
				for _, f := range got.GetFigures() {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", f.GetMonth(), f.GetCategory(), f.GetNothingFound(), f.GetConfirmed(), f.GetReversed())
				}
				return nil
			})
		},
	}
}
