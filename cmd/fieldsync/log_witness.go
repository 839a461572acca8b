package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
)

func newLogWitnessCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new-witness NAME FILE",
		Short: "Make the key with which a witness cosigns checkpoints; print the public one",
		Long: `Make the keys of a witness: the secret one goes into FILE, which must not exist, and stays with the witness; the public one is
printed, for the server's configuration (proof.witnesses) and for whoever verifies. NAME says who the witness is; no server is asked.`,
		Example: `  fieldsync log new-witness 1022.example/witness witness.key > witness.pub`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, public, err := receipt.NewWitness(args[0])
			if err != nil {
				return err
			}
			file, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(file, secret); err != nil {
				_ = file.Close()
				return err
			}
			if err := file.Close(); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), public)
			return nil
		},
	}
}

// cosignPinned cosigns the checkpoint that was just checked and pinned, and hands it to the server.
func cosignPinned(ctx context.Context, o operator, pin, secretFile string) error {
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return err
	}
	witness, err := receipt.ParseWitnessSecret(string(secret))
	if err != nil {
		return inFile(secretFile, err)
	}
	checkpoint, err := os.ReadFile(pin)
	if err != nil {
		return err
	}
	cosigned, err := witness.Cosign(checkpoint, time.Now())
	if err != nil {
		return err
	}
	_, err = o.proofs().AddCosignature(ctx, &fieldsyncv1.AddCosignatureRequest{Checkpoint: string(cosigned)})
	return err
}
