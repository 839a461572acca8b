package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cong1022/fieldsync/internal/fault"
)

// enumFlag maps what a flag takes ("made-safe") to the number of the enum's value.
type enumFlag map[string]int32

func enumFlags(values map[int32]string, prefix string) enumFlag {
	f := make(enumFlag)
	for number, name := range values {
		if number != 0 {
			f[strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")] = number
		}
	}
	return f
}

func (f enumFlag) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(f[a] - f[b]) })
	return names
}

func (f enumFlag) parse(flag, name string) (int32, error) {
	if number, ok := f[name]; ok {
		return number, nil
	}
	list := strings.Join(f.names(), ", ")
	return 0, fault.New(fault.Invalid, "flag_invalid",
		fmt.Sprintf("--%s nhận một trong: %s.", flag, list), fmt.Sprintf("--%s is one of: %s.", flag, list))
}
