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
	run := terraformIn(t, folder, built(t))
	run("plan", "-no-color", "-input=false", "-var", "handed="+handed, "-out=saved.tfplan")
	run("show", "-no-color", "-json", "saved.tfplan")
	run("apply", "-no-color", "-input=false", "saved.tfplan")
	run("plan", "-no-color", "-input=false", "-var", "handed="+handed, "-detailed-exitcode")
	secret, err := os.ReadFile(handed)
	if err != nil || !bytes.HasPrefix(secret, []byte("cd-")) {
		t.Fatalf("handed on was %q, %v; want a key", secret, err)
	}
	run("destroy", "-no-color", "-input=false", "-auto-approve", "-var", "handed="+handed)
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

// terraformIn runs Terraform in folder with the provider from another, and keeps its output and its most talkative log there.
func terraformIn(t *testing.T, folder, provider string) func(words ...string) {
	t.Helper()
	config := filepath.Join(folder, "cli.tfrc")
	write(t, config, fmt.Sprintf("provider_installation {\n  dev_overrides { \"fleetform/fleetform\" = %q }\n  direct {}\n}\n", provider))
	program := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if program == "" {
		program = "terraform"
	}
	output, err := os.Create(filepath.Join(folder, "output.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	return func(words ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), program, words...)
		command.Dir = folder
		command.Stdout, command.Stderr = output, output
		command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+config, "TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(folder, "trace.log"))
		if err := command.Run(); err != nil {
			said, _ := os.ReadFile(output.Name())
			t.Fatalf("terraform %s: %v\n%s", strings.Join(words, " "), err, said)
		}
	}
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
