// Package acceptance drives the provider with the real Terraform against a real server on pretended machines. It runs when TF_ACC is 1.
package acceptance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/echoprovider"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/provider"
)

// startLimit bounds the start of the server, the creation of its database included.
const startLimit = 2 * time.Minute

// server is the one that all tests share; each test has a project of its own in it.
var server running

type running struct {
	BaseURL    string `json:"base_url"`
	Token      string `json:"token"`
	GatewayURL string `json:"gateway_url"`
	Home       string `json:"home"`
	api        *client.Client
}

var providers = map[string]func() (tfprotov6.ProviderServer, error){
	"fleetform": providerserver.NewProtocol6WithError(provider.New("test")),
	"echo":      echoprovider.NewProviderServer(),
}

func TestMain(m *testing.M) {
	if os.Getenv("TF_ACC") == "" {
		os.Exit(m.Run())
	}
	stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// start starts the server; stop ends it. It also ends by itself when this process does, for its standard input closes then.
func start() (stop func() error, err error) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return nil, err
	}
	python := os.Getenv("FLEETFORM_PYTHON")
	if python == "" {
		python = filepath.Join(root, ".venv", "bin", "python")
	}
	ctx, cancel := context.WithCancel(context.Background())
	harness := exec.CommandContext(ctx, python, "-m", "tests.harness.server")
	harness.Dir = root
	harness.Stderr = os.Stderr
	input, err := harness.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	output, err := harness.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := harness.Start(); err != nil {
		cancel()
		return nil, err
	}
	stop = func() error {
		defer cancel()
		return errors.Join(input.Close(), harness.Wait())
	}
	if err := ready(output, cancel); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// ready reads where the server is, and points the provider at it.
func ready(output io.Reader, giveUp func()) error {
	tooLate := time.AfterFunc(startLimit, giveUp)
	defer tooLate.Stop()
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the server did not say where it is: %w", err)
	}
	if err := json.Unmarshal(line, &server); err != nil {
		return fmt.Errorf("the server said %q: %w", line, err)
	}
	server.api, err = client.New(client.Config{BaseURL: server.BaseURL, Token: server.Token, UserAgent: "acceptance tests"})
	return errors.Join(err, os.Setenv(provider.EnvBaseURL, server.BaseURL), os.Setenv(provider.EnvToken, server.Token),
		os.Unsetenv(provider.EnvProject), os.Setenv("TF_CLI_CONFIG_FILE", os.DevNull))
}

// script is what goes wrong on the pretended machines: what an engine of a model version does instead of serving, and why an artifact is
// refused. Tests add to it under names of their own.
type script struct {
	Engines   map[string]string  `json:"engines"`
	Artifacts map[string]string  `json:"artifacts"`
	Figures   map[string]figures `json:"figures"`
}

// figures is how the requests of a model version end.
type figures struct {
	Requests int `json:"requests"`
	Errors   int `json:"errors"`
}

var (
	scripting sync.Mutex
	scripted  = script{Engines: map[string]string{}, Artifacts: map[string]string{}, Figures: map[string]figures{}}
)

// goesWrong changes the script. The server reads it again before it next looks at its machines. Without a server the test is skipped.
func goesWrong(t *testing.T, change func(script)) {
	t.Helper()
	if server.Home == "" {
		t.Skip("TF_ACC is not set")
	}
	scripting.Lock()
	defer scripting.Unlock()
	change(scripted)
	text, err := json.Marshal(scripted)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(server.Home, "fake-script.json")
	if err := os.WriteFile(at+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}
