package modelversion

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// computed are the attributes that the API fills in; all others are what is registered.
var computed = []string{"ref", "digest", "size_bytes"}

// Schema is every attribute of a model version.
func (r *Resource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	project := scope.ProjectAttribute()
	project.MarkdownDescription = "Project. Defaults to the provider's."
	resp.Schema = schema.Schema{
		MarkdownDescription: "A version of a model: where its files lie and what runs them. It is immutable once registered, so any change of " +
			"this resource is an error during the plan: declare another resource for another version. Creation waits, for an hour at most, " +
			"until the files have been hashed and checked. " +
			"Give it `lifecycle { create_before_destroy = true }`: when a version leaves the configuration, Terraform then updates the endpoint " +
			"that used it before it deletes the version, and the API refuses the other order.",
		Attributes: map[string]schema.Attribute{
			"project": project,
			"model": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the model.",
				Validators:          scope.Name(),
			},
			"version": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Version, a name such as `v1.4`.",
				Validators:          scope.Name(),
			},
			"artifact": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Where the files lie, `s3://bucket/path/` or `file:///path/`, below one of the project's `artifact_prefixes`.",
			},
			"framework": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "`pytorch`, optionally with its version (`pytorch2.5`), which must not be newer than the host's torch.",
			},
			"runtime": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "What the version was made for: `cuda12.6`, `rocm6.2`, `cpu`. It is recorded, not compared.",
			},
			"format":         optional("`safetensors` or `gguf`; detected when left out."),
			"task":           optional("`generate` or `embed`; detected when left out."),
			"engine":         optional("`vllm`, or the name of an engine that the region's administrators declared; `vllm` when left out."),
			"engine_version": optional("Version of vLLM that the model needs, or its line (`0.32`); not for a declared engine."),
			"quantization":   optional("Quantization method, under the engine's own name for it."),
			"parent":         optional("Model version that this one was made from, `model:version`."),
			"sha256":         optional("Digest that the artifact must have; registration is refused when it has another."),
			"allow_remote_code": schema.BoolAttribute{
				Optional: true,
				MarkdownDescription: "Run Python code that the artifact brings. Only region administrators may set it, and only dedicated endpoints " +
					"serve it.",
			},
			"ref": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "`model:version`, what a variant of an endpoint names.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"digest": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "SHA-256 digest of the artifact as verified.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"size_bytes": schema.Int64Attribute{
				Computed:            true,
				MarkdownDescription: "Size of the artifact.",
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
		},
	}
}

func optional(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: description}
}

// changedFields are the registered attributes whose planned value is known and differs, in order.
func changedFields(state, plan tftypes.Value) ([]string, error) {
	var before, after map[string]tftypes.Value
	if err := state.As(&before); err != nil {
		return nil, err
	}
	if err := plan.As(&after); err != nil {
		return nil, err
	}
	var changed []string
	for field, value := range after {
		if !slices.Contains(computed, field) && value.IsFullyKnown() && !value.Equal(before[field]) {
			changed = append(changed, field)
		}
	}
	slices.Sort(changed)
	return changed, nil
}
