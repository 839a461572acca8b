//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/phone"
)

// roleVariable is what this program, started again, is to be: JSON of a role.
const roleVariable = "FIELDSYNC_SIEGE_ROLE"

// role is a process: the server in a folder, or an attacker.
type role struct {
	Data     string        `json:"data"`
	Patience time.Duration `json:"patience"`
	Attack   *orders       `json:"attack"`
}

func play(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	if r.Attack != nil {
		return r.Attack.carryOut(os.Stdout)
	}
	return serve(r)
}

// serve is the server with its defaults, but for its proxy. Its first line is its address and the admin's code.
func serve(r role) error {
	// Where a bomb goes off, the server is to end and not the machine.
	if err := syscall.Setrlimit(unix.RLIMIT_DATA, &syscall.Rlimit{Cur: 4 * memory, Max: 4 * memory}); err != nil {
		return err
	}
	config, err := server.LoadConfig("", func(string) (string, bool) { return "", false })
	if err != nil {
		return err
	}
	config.Listen, config.Data, config.Edge.TrustedProxies = "127.0.0.1:0", r.Data, []string{"127.0.0.0/8"}
	if r.Patience > 0 {
		config.Edge.HeaderTimeout, config.Edge.BodyTimeout = r.Patience, r.Patience
	}
	s, err := server.Open(context.Background(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	code, _, err := s.AdminCode(context.Background())
	if err != nil {
		return err
	}
	fmt.Println(s.URL(), code)
	return s.Serve(context.Background())
}

// again starts this program in another role.
func again(r role, niceness int) (*exec.Cmd, *bufio.Reader, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self) //nolint:noctx // This program itself; whoever starts it ends it.
	cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, niceness); err != nil {
		return nil, nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, bufio.NewReader(out), nil
}

// city is the server, a phone of a crew, and a stolen one that the attackers have.
type city struct {
	cmd           *exec.Cmd
	url           string
	phone, stolen string // Tokens.
}

func found(ctx context.Context, dir string, patience time.Duration) (c *city, err error) {
	cmd, out, err := again(role{Data: filepath.Join(dir, "server"), Patience: patience}, 0)
	if err != nil {
		return nil, err
	}
	c = &city{cmd: cmd}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	line, err := out.ReadString('\n')
	if err != nil {
		return c, fmt.Errorf("the server did not start: %w", err)
	}
	url, code, _ := strings.Cut(strings.TrimSpace(line), " ")
	c.url = url
	admin, _, err := c.enrol(ctx, filepath.Join(dir, "admin"), code)
	if err != nil {
		return c, err
	}
	desk := fieldsyncv1connect.NewDispatchServiceClient(admin.Client(), url)
	_, uerr := desk.PutUnit(ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: "binh-thanh", Name: "Phường Bình Thạnh"}})
	_, cerr := desk.PutCrew(ctx, &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: "to-1", UnitId: "binh-thanh", Name: "Tổ 1"}})
	_, merr := desk.PutMember(ctx, &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{Id: "an", CrewId: "to-1", Role: fieldsyncv1.Role_ROLE_CREW, Name: "An"}})
	err = errors.Join(uerr, cerr, merr)
	for name, token := range map[string]*string{"an": &c.phone, "stolen": &c.stolen} {
		if err != nil {
			break
		}
		var answer *fieldsyncv1.IssueCodeResponse
		if answer, err = fieldsyncv1connect.NewIdentityServiceClient(admin.Client(), url).IssueCode(ctx, &fieldsyncv1.IssueCodeRequest{MemberId: "an"}); err == nil {
			var p *phone.Phone
			if p, *token, err = c.enrol(ctx, filepath.Join(dir, name), answer.GetCode()); err == nil {
				err = p.Close()
			}
		}
	}
	return c, errors.Join(err, admin.Close())
}

// enrol makes a device and gives its token, which outlives the siege.
func (c *city) enrol(ctx context.Context, dir, code string) (*phone.Phone, string, error) {
	p, err := phone.Open(dir, phone.Options{})
	if err != nil {
		return nil, "", err
	}
	if err := p.Enrol(ctx, c.url, code, "siege"); err != nil {
		return nil, "", errors.Join(err, p.Close())
	}
	token, err := p.Token(ctx)
	return p, token, err
}

func (c *city) end() {
	_ = c.cmd.Process.Kill() // Its folder goes with it.
	_ = c.cmd.Wait()
}

// from sends every request as from an address, with a token.
type from struct {
	address, token string
	next           http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.address)
	r.Header.Set("Authorization", "Bearer "+f.token)
	return f.next.RoundTrip(r)
}

// latencies are those of the phone's calls, in order of size.
type latencies struct {
	took   []time.Duration
	failed int
}

func (l latencies) ms(share float64) float64 {
	if len(l.took) == 0 {
		return 0
	}
	return float64(l.took[min(int(share*float64(len(l.took))), len(l.took)-1)]) / float64(time.Millisecond)
}

// pace is the time between two calls of the phone.
const pace = 20 * time.Millisecond

// measure lets the phone sync for a while: over a connection that it keeps, and each tenth time over a fresh one.
func (c *city) measure(ctx context.Context, long time.Duration) (latencies, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	return c.calls(ctx)
}

func (c *city) calls(ctx context.Context) (l latencies, err error) {
	kept, fresh := &http.Transport{}, &http.Transport{DisableKeepAlives: true}
	defer kept.CloseIdleConnections()
	sync := func(t *http.Transport) fieldsyncv1connect.SyncServiceClient {
		return fieldsyncv1connect.NewSyncServiceClient(&http.Client{Transport: from{"198.51.100.7", c.phone, t}}, c.url)
	}
	clients := []fieldsyncv1connect.SyncServiceClient{sync(kept), sync(fresh)}
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			slices.Sort(l.took)
			return l, nil
		case <-ticker.C:
		}
		client := clients[0]
		if i%10 == 9 {
			client = clients[1]
		}
		begun := time.Now()
		_, err := client.Sync(ctx, &fieldsyncv1.SyncRequest{})
		switch {
		case ctx.Err() != nil:
		case connect.CodeOf(err) == connect.CodeUnauthenticated:
			return l, err
		case err != nil:
			l.failed++
		default:
			l.took = append(l.took, time.Since(begun))
		}
	}
}

// under is an attack and what the phone and the server's memory are like meanwhile, and behind it the attack's floor.
func (c *city) under(ctx context.Context, a attack, p plan, idle latencies) (result, error) {
	r, l, err := c.beside(ctx, orders{Name: a.name, URL: c.url, Token: c.stolen, Plan: p})
	if err != nil {
		return result{}, err
	}
	r.IdleP50, r.IdleP99, r.P50, r.P99 = idle.ms(.5), idle.ms(.99), l.ms(.5), l.ms(.99)
	r.RatioP50, r.RatioP99 = r.P50/r.IdleP50, r.P99/r.IdleP99
	if a.floods && r.Sent > 0 {
		pace := time.Duration(r.Seconds * float64(time.Second) / float64(r.Sent))
		p.Requests = max(1, min(r.Sent, int(floorTime/max(pace, 1))))
		p.Bombs = p.Requests
		_, l, err := c.beside(ctx, orders{Name: a.name, URL: c.url, Plan: p, Pace: pace})
		if err != nil {
			return result{}, fmt.Errorf("its floor: %w", err)
		}
		r.FloorP50, r.FloorP99 = l.ms(.5), l.ms(.99)
	}
	r.Failure = r.judge()
	if r.Failure == "" && (r.RatioP50 > slowdown || r.RatioP99 > slowdown) {
		r.Failure = fmt.Sprintf("the phone waited more than %d times its idle time", slowdown)
	}
	r.Held = r.Failure == ""
	return r, nil
}

// beside carries out orders in a process of the attackers' while the phone calls.
func (c *city) beside(ctx context.Context, o orders) (r result, l latencies, err error) {
	cmd, out, err := again(role{Attack: &o}, attackersNiceness)
	if err != nil {
		return r, l, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }() // It has told all by then.
	if line, err := out.ReadString('\n'); err != nil || line != begunLine {
		return r, l, fmt.Errorf("the attackers said %q: %w", line, err)
	}
	begun := time.Now()
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	type told struct {
		result attackResult
		err    error
	}
	over := make(chan told, 1)
	go func() {
		var t told
		t.err = json.NewDecoder(out).Decode(&t.result)
		over <- t
	}()
	most := make(chan int64, 1)
	go func() { most <- c.watchMemory(during) }()
	measured := make(chan latencies, 1)
	go func() {
		l, lerr := c.calls(during)
		if lerr != nil {
			l.failed++
		}
		measured <- l
	}()
	t := <-over
	cancel()
	l = <-measured
	if t.err != nil {
		return r, l, fmt.Errorf("what the attackers report: %w", t.err)
	}
	return result{
		Name: o.Name, attackResult: t.result, Seconds: time.Since(begun).Seconds(),
		Calls: len(l.took) + l.failed, FailedCalls: l.failed, MemoryMiB: float64(<-most) / (1 << 20),
	}, l, nil
}

// watchMemory is the most that the server had resident (VmRSS of /proc/PID/status), looked at every 50 ms.
func (c *city) watchMemory(ctx context.Context) (most int64) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/status")
		if err == nil {
			_, rest, _ := strings.Cut(string(text), "VmRSS:")
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if kib, err := strconv.ParseInt(number, 10, 64); err == nil {
				most = max(most, kib<<10)
			}
		}
		select {
		case <-ctx.Done():
			return most
		case <-ticker.C:
		}
	}
}
