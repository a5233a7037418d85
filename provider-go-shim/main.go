// Command terraform-provider-fleetform is the Terraform provider of Fleetform.
package main

import (
	"context"
	"flag"
	"log"

	framework "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	tfaddr "github.com/hashicorp/terraform-registry-address"

	"fleetform.dev/terraform-provider-fleetform/internal/provider"
)

// version is set by the build.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "wait for a debugger and print how Terraform finds this process")
	flag.Parse()
	err := providerserver.Serve(context.Background(), func() framework.Provider { return provider.New(version) }, providerserver.ServeOpts{
		Address: tfaddr.NewProvider(tfaddr.DefaultProviderRegistryHost, "fleetform", "fleetform").String(),
		Debug:   *debug,
	})
	if err != nil {
		log.Fatal(err)
	}
}
