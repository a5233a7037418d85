// Package provider is the provider itself: its configuration, and the list of what it offers.
package provider

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/endpoint"
	"fleetform.dev/terraform-provider-fleetform/internal/modelversion"
	"fleetform.dev/terraform-provider-fleetform/internal/project"
	"fleetform.dev/terraform-provider-fleetform/internal/quota"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
	"fleetform.dev/terraform-provider-fleetform/internal/token"
	"fleetform.dev/terraform-provider-fleetform/internal/tokencredential"
)

// The environment variables that stand in for arguments left out.
const (
	EnvBaseURL = "FLEETFORM_BASE_URL"
	EnvToken   = "FLEETFORM_TOKEN"
	EnvProject = "FLEETFORM_PROJECT"
)

// Provider is fleetform.
type Provider struct {
	version string
}

var _ provider.ProviderWithEphemeralResources = (*Provider)(nil)

// New makes the provider; version is what it calls itself in User-Agent.
func New(version string) provider.Provider {
	return &Provider{version: version}
}

type model struct {
	BaseURL types.String `tfsdk:"base_url"`
	Project types.String `tfsdk:"project"`
	Token   types.String `tfsdk:"token"`
}

// Metadata names the provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "fleetform"
	resp.Version = p.version
}

// Schema is the provider's configuration.
func (p *Provider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Fleetform turns GPU hosts into OpenAI-compatible endpoints. This provider declares projects, quotas, model " +
			"versions, endpoints and tokens. The rules live in the control API, and what it refuses is shown at the attribute it is about. " +
			"The API judges a configuration during the apply: a plan checks its form, what is immutable, and what is there already.",
		Attributes: map[string]schema.Attribute{
			"base_url": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Address of the control API, such as `https://api.region.example.com`. Defaults to `" + EnvBaseURL + "`.",
			},
			"project": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Project of every resource that names none. Defaults to `" + EnvProject + "`.",
				Validators:          scope.Name(),
			},
			"token": schema.StringAttribute{
				Optional:            true,
				Sensitive:           true,
				MarkdownDescription: "API key that the calls are made with. Defaults to `" + EnvToken + "`, which is the better place for it.",
			},
		},
	}
}

// Configure makes the client. A value that is only known after another resource exists leaves the provider without one, with a warning.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var config model
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	configured := &scope.Scope{Project: orEnv(config.Project, EnvProject)}
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = configured, configured, configured

	baseURL, token := orEnv(config.BaseURL, EnvBaseURL), orEnv(config.Token, EnvToken)
	for _, value := range []struct {
		attribute, env string
		value          types.String
	}{{"base_url", EnvBaseURL, baseURL}, {"token", EnvToken, token}} {
		if value.value.IsUnknown() {
			resp.Diagnostics.AddAttributeWarning(path.Root(value.attribute), "Provider configuration not known yet",
				"The value of "+value.attribute+" is known only after apply, so nothing can be read from the control API in this plan.")
		}
		if value.value.IsNull() {
			resp.Diagnostics.AddAttributeError(path.Root(value.attribute), "Provider configuration incomplete",
				fmt.Sprintf("Set %s in the provider block, or set the environment variable %s.", value.attribute, value.env))
		}
	}
	if resp.Diagnostics.HasError() || baseURL.IsUnknown() || token.IsUnknown() {
		return
	}
	made, err := client.New(client.Config{
		BaseURL:   baseURL.ValueString(),
		Token:     token.ValueString(),
		UserAgent: fmt.Sprintf("terraform-provider-fleetform/%s (terraform %s; %s/%s)", p.version, req.TerraformVersion, runtime.GOOS, runtime.GOARCH),
	})
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("base_url"), "Wrong address of the control API", err.Error())
		return
	}
	tflog.Debug(ctx, "configured", map[string]any{"base_url": baseURL.ValueString(), "project": configured.Project.ValueString()})
	configured.Client = made
}

// orEnv is value, or the environment's where value is null and the variable is set.
func orEnv(value types.String, variable string) types.String {
	if text := os.Getenv(variable); value.IsNull() && text != "" {
		return types.StringValue(text)
	}
	return value
}

// Resources are the managed resources.
func (p *Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		project.NewResource,
		quota.NewResource,
		modelversion.NewResource,
		endpoint.NewResource,
		token.NewResource,
	}
}

// DataSources are the data sources.
func (p *Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{endpoint.NewDataSource}
}

// EphemeralResources are the ephemeral resources.
func (p *Provider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{tokencredential.NewEphemeralResource}
}
