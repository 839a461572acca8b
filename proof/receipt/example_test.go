package receipt_test

import (
	"fmt"
	"os"

	"github.com/cong1022/fieldsync/proof/receipt"
)

// A hotline checks a completion years later, with nothing but the log's public key and the receipt.
func Example() {
	keyFile, err := os.ReadFile("../testdata/log.pub")
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := receipt.ParseKeys(keyFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := os.ReadFile("../testdata/sealed-6.tlog-proof")
	if err != nil {
		fmt.Println(err)
		return
	}
	proven, err := receipt.Verify(text, keys)
	if err != nil {
		fmt.Println("Do not rely on it:", err)
		return
	}
	fmt.Println(proven.Kind, "ticket", proven.Record.GetHotlineId(), "by", proven.Record.GetMemberId())
	fmt.Println("leaf", proven.Index, "of", proven.Checkpoint.Size, "in", proven.Checkpoint.Origin)
	// Output:
	// sealed ticket 1022-1 by an
	// leaf 13 of 14 in fieldsync/log/01020305
}
