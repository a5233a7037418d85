package acceptance

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoSecretIsStored applies with the built provider as a user does, with a saved plan and every log, and looks for the minted secret
// and for the caller's own key in all that Terraform left behind.
func TestNoSecretIsStored(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set")
	}
	folder, handed := t.TempDir(), filepath.Join(t.TempDir(), "key")
	write(t, filepath.Join(folder, "main.tf"), `
		terraform {
		  required_providers { fleetform = { source = "fleetform/fleetform" } }
		}
		variable "handed" { type = string }
		resource "fleetform_project" "this" { name = "secret-test" }
		resource "fleetform_token" "this" {
		  project = fleetform_project.this.name
		  name    = "app"
		  roles   = ["inference.invoker"]
		}
		ephemeral "fleetform_token_credential" "this" {
		  project = fleetform_project.this.name
		  token   = fleetform_token.this.name
		}
		resource "terraform_data" "handed" {
		  provisioner "local-exec" {
		    command     = "printf '%s' \"$KEY\" > \"$KEY_FILE\""
		    environment = { KEY = ephemeral.fleetform_token_credential.this.secret, KEY_FILE = var.handed }
		  }
		}`)
	terraform := terraformIn(t, folder, built(t))
	terraform.run(t, "plan", "-no-color", "-input=false", "-var", "handed="+handed, "-out=saved.tfplan")
	terraform.run(t, "show", "-no-color", "-json", "saved.tfplan")
	terraform.run(t, "apply", "-no-color", "-input=false", "saved.tfplan")
	terraform.run(t, "plan", "-no-color", "-input=false", "-var", "handed="+handed, "-detailed-exitcode")
	secret, err := os.ReadFile(handed)
	if err != nil || !bytes.HasPrefix(secret, []byte("cd-")) {
		t.Fatalf("handed on was %q, %v; want a key", secret, err)
	}
	terraform.run(t, "destroy", "-no-color", "-input=false", "-auto-approve", "-var", "handed="+handed)
	searched := holdsNone(t, folder, map[string][]byte{"the minted secret": secret, "the caller's key": []byte(server.Token)})
	for _, name := range []string{"terraform.tfstate", "terraform.tfstate.backup", "saved.tfplan", "trace.log", "output.log"} {
		if !searched[name] {
			t.Errorf("%s was not searched: the test looks in the wrong place", name)
		}
	}
}

// built is the folder of a provider that was built from this source.
func built(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "terraform-provider-fleetform"), "../..")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return folder
}

// cli is Terraform in a folder of its own, with a provider from another.
type cli struct {
	folder, config string
	output         *os.File
}

// terraformIn keeps the output of Terraform, and its most talkative log, in the folder where it runs.
func terraformIn(t *testing.T, folder, provider string) cli {
	t.Helper()
	config := filepath.Join(folder, "cli.tfrc")
	write(t, config, fmt.Sprintf("provider_installation {\n  dev_overrides { \"fleetform/fleetform\" = %q }\n  direct {}\n}\n", provider))
	output, err := os.Create(filepath.Join(folder, "output.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	return cli{folder: folder, config: config, output: output}
}

func (c cli) command(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	program := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if program == "" {
		program = "terraform"
	}
	command := exec.CommandContext(t.Context(), program, words...)
	command.Dir = c.folder
	command.Stdout, command.Stderr = c.output, c.output
	command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+c.config, "TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(c.folder, "trace.log"))
	return command
}

// run fails the test unless the command succeeds.
func (c cli) run(t *testing.T, words ...string) {
	t.Helper()
	if err := c.command(t, words...).Run(); err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(words, " "), err, c.said(t))
	}
}

// said is all that Terraform has printed.
func (c cli) said(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(c.output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// holdsNone fails for each file below folder that holds one of the secrets. It returns the names of the files that it searched.
func holdsNone(t *testing.T, folder string, secrets map[string][]byte) map[string]bool {
	t.Helper()
	searched := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := contents(path)
		if err != nil {
			return err
		}
		for what, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s holds %s", entry.Name(), what)
			}
		}
		searched[entry.Name()] = len(text) > 0
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return searched
}

// contents are the bytes of a file; of a saved plan, which is a zip archive, those of its members.
func contents(path string) ([]byte, error) {
	if filepath.Ext(path) != ".tfplan" {
		return os.ReadFile(path)
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	var all bytes.Buffer
	for _, member := range archive.File {
		opened, err := member.Open()
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(&all, io.LimitReader(opened, 16<<20))
		if err := errors.Join(err, opened.Close()); err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
