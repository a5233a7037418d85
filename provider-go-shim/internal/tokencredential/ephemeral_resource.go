// Package tokencredential is the ephemeral resource fleetform_token_credential: a secret that Terraform hands on and never stores.
package tokencredential

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// defaultTTL of a credential in seconds.
const defaultTTL = 3600

// closing is the key of the private data that Close needs.
const closing = "credential"

// EphemeralResource is fleetform_token_credential.
type EphemeralResource struct {
	scope *scope.Scope
}

var (
	_ ephemeral.EphemeralResourceWithConfigure = (*EphemeralResource)(nil)
	_ ephemeral.EphemeralResourceWithClose     = (*EphemeralResource)(nil)
)

// NewEphemeralResource makes the resource.
func NewEphemeralResource() ephemeral.EphemeralResource { return &EphemeralResource{} }

type model struct {
	Project       types.String `tfsdk:"project"`
	Token         types.String `tfsdk:"token"`
	TTLS          types.Int64  `tfsdk:"ttl_s"`
	RevokeOnClose types.Bool   `tfsdk:"revoke_on_close"`
	ID            types.String `tfsdk:"id"`
	Secret        types.String `tfsdk:"secret"`
	ExpiresAt     types.String `tfsdk:"expires_at"`
}

// minted is what Close needs to revoke a credential.
type minted struct {
	Token client.Key
	ID    string
}

// Metadata names the resource.
func (r *EphemeralResource) Metadata(_ context.Context, req ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_token_credential"
}

// Schema is every attribute of a credential.
func (r *EphemeralResource) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A credential of a token: the secret that a client sends as its API key. Terraform hands it to write-only " +
			"arguments and provisioners, and stores it nowhere. Each run mints a new one, during the plan as well as the apply; earlier ones " +
			"stay valid until they expire. While the token itself is only planned, the values are unknown.",
		Attributes: map[string]schema.Attribute{
			"project": schema.StringAttribute{
				Optional:            true,
				Computed:            true,
				MarkdownDescription: "Project of the token. Defaults to the provider's.",
				Validators:          scope.Name(),
			},
			"token": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the token.",
				Validators:          scope.Name(),
			},
			"ttl_s": schema.Int64Attribute{
				Optional:            true,
				Computed:            true,
				MarkdownDescription: "Life of the credential in seconds, at most the token's `ttl_days`; 3600 when left out.",
			},
			"revoke_on_close": schema.BoolAttribute{
				Optional: true,
				Computed: true,
				MarkdownDescription: "Revoke the credential when Terraform is done with it; false when left out, because an application may hold it " +
					"after the apply.",
			},
			"id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Identifier of the credential, by which it can be revoked.",
			},
			"secret": schema.StringAttribute{
				Computed:            true,
				Sensitive:           true,
				MarkdownDescription: "The API key.",
			},
			"expires_at": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "When the credential expires, in RFC 3339.",
			},
		},
	}
}

// Configure takes the provider's client and project.
func (r *EphemeralResource) Configure(_ context.Context, req ephemeral.ConfigureRequest, resp *ephemeral.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// Open mints a credential.
func (r *EphemeralResource) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var data model
	resp.Diagnostics.Append(req.Config.Get(ctx, &data)...)
	data.Project = r.scope.ProjectOf(data.Project, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if data.TTLS.IsNull() {
		data.TTLS = types.Int64Value(defaultTTL)
	}
	data.RevokeOnClose = types.BoolValue(data.RevokeOnClose.ValueBool())
	token := client.Key{Project: data.Project.ValueString(), Name: data.Token.ValueString()}
	// A plan that cannot ask the API yet, or whose token is only planned; an apply is neither.
	if r.scope.Client == nil || r.scope.Tokens.Holds(token) {
		data.ID, data.Secret, data.ExpiresAt = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
		resp.Diagnostics.Append(resp.Result.Set(ctx, data)...)
		return
	}
	credential, err := r.scope.Client.Credentials.Mint(ctx, token, gen.CredentialRequest{TTLS: data.TTLS.ValueInt64Pointer()})
	if err != nil {
		r.explain(token, err, resp)
		return
	}
	data.ID = types.StringValue(credential.ID)
	data.Secret = types.StringValue(credential.Secret)
	data.ExpiresAt = types.StringValue(credential.ExpiresAt)
	resp.Diagnostics.Append(resp.Result.Set(ctx, data)...)
	if data.RevokeOnClose.ValueBool() {
		r.remember(ctx, minted{Token: token, ID: credential.ID}, resp)
	}
}

// explain says why no credential was minted.
func (r *EphemeralResource) explain(token client.Key, err error, resp *ephemeral.OpenResponse) {
	summary := "Cannot mint a credential of token " + token.String()
	if apierror.IsNotFound(err) {
		resp.Diagnostics.AddAttributeError(path.Root("token"), summary, "There is no such token in this project. "+err.Error())
		return
	}
	resp.Diagnostics.Append(apierror.Diagnostics(summary, err, resp.Result.Schema)...)
}

// remember leaves for Close what it has to revoke: an identifier, never the secret.
func (r *EphemeralResource) remember(ctx context.Context, credential minted, resp *ephemeral.OpenResponse) {
	note, err := json.Marshal(credential)
	if err != nil {
		resp.Diagnostics.AddError("Cannot remember the credential", err.Error())
		return
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, closing, note)...)
}

// Close revokes the credential where that was asked for.
func (r *EphemeralResource) Close(ctx context.Context, req ephemeral.CloseRequest, resp *ephemeral.CloseResponse) {
	note, diags := req.Private.GetKey(ctx, closing)
	resp.Diagnostics.Append(diags...)
	if note == nil || resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	var credential minted
	if err := json.Unmarshal(note, &credential); err != nil {
		resp.Diagnostics.AddError("Cannot tell which credential to revoke", err.Error())
		return
	}
	if err := r.scope.Client.Credentials.Revoke(ctx, credential.Token, credential.ID); err != nil {
		resp.Diagnostics.AddError(fmt.Sprintf("Cannot revoke credential %s of token %s", credential.ID, credential.Token), err.Error())
	}
}
