package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/auth/audit"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// enterAct enters what a command has done to the data folder of a server that does not run into the folder's own audit log. These make
// or mend the files under the store, so the entry stands behind what it tells of: it is lost where the command is ended just between.
func enterAct(cmd *cobra.Command, config server.Config, about ...string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s has done its work, which did not enter the audit log: %w", cmd.CommandPath(), err)
		}
	}()
	engine, err := embedded.Open(storeFolder(config), newLogger(config.Log, cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	s, err := store.Open(cmd.Context(), engine, store.Options{})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	ctx := audit.OnMachine(cmd.Context(), asCalled(cmd), about...)
	return errors.Join(s.Update(ctx, func(*store.Tx) error { return nil }), s.Close())
}

// asCalled is the command with those of its flags that say what it does, and none of their values: these may name folders and buckets.
func asCalled(cmd *cobra.Command) string {
	called := []string{cmd.CommandPath()}
	for _, flag := range []string{"journal", "repair", "to"} {
		if cmd.Flags().Changed(flag) {
			called = append(called, "--"+flag)
		}
	}
	return strings.Join(called, " ")
}
