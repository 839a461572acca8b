package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth/oidc"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// OIDCConfig is the section oidc: the outside identity provider.
type OIDCConfig struct {
	Issuer      string            `yaml:"issuer"`
	Audiences   []string          `yaml:"audiences"`
	MemberClaim string            `yaml:"member_claim"`
	RolesClaim  string            `yaml:"roles_claim"`
	Roles       map[string]string `yaml:"roles"`
	UnitsClaim  string            `yaml:"units_claim"`
	Units       map[string]string `yaml:"units"`
}

// open returns nil where no provider is configured. Nothing is asked of it yet.
func (c OIDCConfig) open(now func() time.Time) (*oidc.Provider, error) {
	if c.Issuer == "" {
		return nil, nil //nolint:nilnil // None is no error.
	}
	for theirs, ours := range c.Roles {
		if fieldsyncv1.Role_value["ROLE_"+strings.ToUpper(ours)] == 0 {
			return nil, fmt.Errorf("oidc.roles: %s: there is no role %q", theirs, ours)
		}
	}
	return oidc.New(oidc.Options{
		Issuer: c.Issuer, Audiences: c.Audiences, MemberClaim: c.MemberClaim, RolesClaim: c.RolesClaim, UnitsClaim: c.UnitsClaim,
		Roles: c.Roles, Units: c.Units, Client: &http.Client{Timeout: 10 * time.Second}, Now: now,
	})
}

func (c OIDCConfig) check() error {
	_, err := c.open(time.Now)
	return err
}
