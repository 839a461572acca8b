package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newAuthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Who may call what, and the keys that sign access tokens",
		Example: `  fieldsync auth matrix
  fieldsync auth rotate`,
	}
	cmd.AddCommand(newMatrixCommand(), newKeysCommand(), newRotateCommand())
	return cmd
}

func newMatrixCommand() *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Print which role may make which call; what is not listed is denied",
		Example: `  fieldsync auth matrix
  fieldsync auth matrix --markdown > docs/rights.md`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown {
				return writeRights(cmd.OutOrStdout())
			}
			return printRights(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print it as docs/rights.md has it")
	return cmd
}

// mark says in a cell whether the role may.
func mark(right auth.Right, role fieldsyncv1.Role) string {
	switch {
	case right.Else != "":
		return "–"
	case slices.Contains(right.Roles, role):
		return "yes"
	default:
		return ""
	}
}

func printRights(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "CALL")
	for _, role := range auth.Roles() {
		fmt.Fprint(table, "\t"+strings.ToUpper(auth.RoleName(role)))
	}
	fmt.Fprintln(table)
	for _, right := range auth.Table() {
		fmt.Fprint(table, strings.TrimPrefix(right.What, "/fieldsync.v1."))
		for _, role := range auth.Roles() {
			fmt.Fprint(table, "\t"+mark(right, role))
		}
		if right.Else != "" {
			fmt.Fprint(table, "\t"+right.Else)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// writeRights writes docs/rights.md.
func writeRights(out io.Writer) error {
	text := new(strings.Builder)
	text.WriteString(`# Who may call what

Made by ` + "`fieldsync auth matrix --markdown`" + ` from the table that the server enforces (auth/matrix.go, auth/routes.go): do not edit. What
does not stand here is denied. A role's right to call says nothing of whose tasks, crews and devices it reaches: a crew's
members reach their crew's, dispatchers and unit heads their unit's (of the unit "city": all), a city supervisor reads all units',
an admin reaches all. Anything else answers as if it did not exist.

| call |`)
	for _, role := range auth.Roles() {
		text.WriteString(" " + auth.RoleName(role) + " |")
	}
	text.WriteString(" else |\n| --- |" + strings.Repeat(" --- |", len(auth.Roles())+1) + "\n")
	for _, right := range auth.Table() {
		fmt.Fprintf(text, "| `%s` |", strings.TrimPrefix(right.What, "/fieldsync.v1."))
		for _, role := range auth.Roles() {
			text.WriteString(" " + strings.ReplaceAll(mark(right, role), "–", "") + " |")
		}
		text.WriteString(" " + right.Else + " |\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// newKeysCommand and newRotateCommand show and turn over the keys of access tokens.

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List the keys that sign access tokens", Args: cobra.NoArgs,
		Example: `  fieldsync auth keys`,
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			answer, err := o.identity().ListTokenKeys(cmd.Context(), &fieldsyncv1.ListTokenKeysRequest{})
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), answer.GetKeys())
		})
	}
	return cmd
}

func newRotateCommand() *cobra.Command {
	request := &fieldsyncv1.RotateTokenKeyRequest{}
	cmd := &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs,
		Short: "Let the next key sign access tokens, without a restart",
		Long: `Let the next key sign access tokens: as soon as it has been published for an hour, so that every cache has it. The present one
verifies until the last token that it signed is over.`,
		Example: `  fieldsync auth rotate
  fieldsync auth rotate --at-once
  fieldsync auth rotate --compromised  # all tokens are void; devices renew theirs by themselves`,
	}
	profile := profileFlag(cmd)
	cmd.Flags().BoolVar(&request.AtOnce, "at-once", false, "the next key signs now; other services may not know it for up to an hour")
	cmd.Flags().BoolVar(&request.Compromised, "compromised", false, "the present key is in other hands: make a new one, and all tokens void")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			answer, err := o.identity().RotateTokenKey(cmd.Context(), request)
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), answer.GetKeys())
		})
	}
	return cmd
}

func printKeys(out io.Writer, keys []*fieldsyncv1.TokenKey) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tSIGNS FROM\tSTATE")
	for _, key := range keys {
		state := "published"
		switch {
		case key.GetSigns():
			state = "signs"
		case key.GetUntil() != nil:
			state = "verifies until " + key.GetUntil().AsTime().In(calendar.Zone).Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", key.GetKid(), key.GetSignsFrom().AsTime().In(calendar.Zone).Format(time.RFC3339), state)
	}
	return table.Flush()
}
