package auth

import "context"

type callerKey struct{}

// WithCaller returns a context under which heard is told who calls, where that is found out only while the call is under way: by a key
// of an API, or by the word of an outside identity provider.
func WithCaller(ctx context.Context, heard func(Principal)) context.Context {
	return context.WithValue(ctx, callerKey{}, heard)
}

// tellCaller tells whoever wants to know it.
func tellCaller(ctx context.Context, p Principal) {
	if heard, ok := ctx.Value(callerKey{}).(func(Principal)); ok {
		heard(p)
	}
}
