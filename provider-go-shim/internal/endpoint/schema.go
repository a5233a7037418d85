package endpoint

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// What an apply waits for.
const (
	waitReady    = "ready"
	waitAccepted = "accepted"
)

// Schema is every attribute of an endpoint.
func (r *Resource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attributes := specAttributes()
	for name, attribute := range identityAttributes() {
		attributes[name] = attribute
	}
	attributes["wait_for"] = schema.StringAttribute{
		Optional: true,
		MarkdownDescription: "When an apply is done: `ready`, once this spec serves, or `accepted`, once the server has taken it; `ready` when " +
			"left out.",
		Validators: []validator.String{stringvalidator.OneOf(waitReady, waitAccepted)},
	}
	attributes["timeouts"] = timeoutsAttribute(ctx)
	resp.Schema = schema.Schema{
		MarkdownDescription: "An OpenAI-compatible endpoint: which model versions serve, with what share of the traffic and how many replicas. " +
			"Every field but `name` and `project` changes in place, under the same URL. An apply succeeds when what was asked for serves; a " +
			"change that the server rolled back is an error, and the next plan shows what serves instead. A value that the server's release " +
			"does not have is refused as `unsupported`.",
		Attributes: attributes,
	}
}

func timeoutsAttribute(ctx context.Context) schema.Attribute {
	attribute := timeouts.Attributes(ctx, timeouts.Opts{
		Create: true, CreateDescription: "How long creation may take, such as `45m`; `30m` when left out.",
		Update: true, UpdateDescription: "How long a change may take; `30m` when left out.",
		Delete: true, DeleteDescription: "How long deletion may take; `20m` when left out.",
	})
	if nested, ok := attribute.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long an apply waits."
		return nested
	}
	return attribute
}

func identityAttributes() map[string]schema.Attribute {
	known := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	return map[string]schema.Attribute{
		"project": scope.ProjectAttribute(),
		"name": schema.StringAttribute{
			Required:            true,
			MarkdownDescription: "Name. Changing it replaces the endpoint.",
			Validators:          scope.Name(),
			PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
		},
		"uid": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "Identifier that stays for the life of the endpoint and is never used again.",
			PlanModifiers:       known,
		},
		"url": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "OpenAI base URL: the `base_url` of a client.",
			PlanModifiers:       known,
		},
		"model": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "What a client sends as `model`.",
			PlanModifiers:       known,
		},
		"generation": schema.Int64Attribute{
			Computed:            true,
			MarkdownDescription: "Counts the changes of the spec.",
		},
		"ready": schema.BoolAttribute{
			Computed:            true,
			MarkdownDescription: "Whether the current spec serves.",
		},
	}
}

func specAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"type":          optionalString("`realtime`, `streaming`, `batch` or `serverless-async`; `realtime` when left out."),
		"mode":          optionalString("`dedicated`, `shared` or `serverless`; `dedicated` when left out."),
		"instance_type": schema.StringAttribute{Required: true, MarkdownDescription: "What one replica runs on, such as `gpu-a10-1x`."},
		"variants": schema.MapNestedAttribute{
			Required:            true,
			MarkdownDescription: "What serves, by a name of your choice, 1 to 8.",
			Validators:          []validator.Map{mapvalidator.KeysAre(scope.Name()...)},
			NestedObject:        schema.NestedAttributeObject{Attributes: variantAttributes()},
		},
		"scaling": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "How many replicas, over all variants.",
			Attributes:          scalingAttributes(),
		},
		"request_timeout_s": optionalInt("How long a whole answer may take in seconds; for a stream the first byte, then 60 s between bytes. " +
			"1 to 3600; 300 when left out."),
		"max_requests_per_replica": optionalInt("Replace a replica after this many requests; never when left out."),
		"rollout": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "How a change moves the traffic.",
			Attributes:          rolloutAttributes(),
		},
		"slo": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "What a change must hold at every step, or it is rolled back.",
			Attributes:          sloAttributes(),
		},
		"logging": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "What is kept of requests.",
			Attributes:          loggingAttributes(),
		},
		"async": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "What `serverless-async` endpoints may do.",
			Attributes: map[string]schema.Attribute{
				"callback_urls": schema.SetAttribute{
					Optional:            true,
					ElementType:         types.StringType,
					Validators:          []validator.Set{setvalidator.NoNullValues()},
					MarkdownDescription: "Addresses that may be called back, all `https://`.",
				},
			},
		},
		"deletion_protection": schema.BoolAttribute{
			Optional:            true,
			MarkdownDescription: "Refuse to delete the endpoint; false when left out. To destroy it, apply `false` first.",
		},
		"labels": schema.MapAttribute{
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Map{mapvalidator.NoNullValues()},
			MarkdownDescription: "Labels, at most 32.",
		},
	}
}

func variantAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"model_version": schema.StringAttribute{
			Required:            true,
			MarkdownDescription: "`model:version` of the endpoint's project; take it from `fleetform_model_version.….ref`.",
		},
		"weight": optionalInt("Share of the traffic in percent, 0 to 100. The weights sum to 100; a single variant may leave it out. A variant " +
			"at 0 stays warm for `rollout.bake_s`."),
		"engine_args": schema.MapAttribute{
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Map{mapvalidator.NoNullValues()},
			MarkdownDescription: "Arguments of the engine under its own names, such as `gpu_memory_utilization`.",
		},
	}
}

func scalingAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"min_replicas":       optionalInt("At least this many; 1 when left out."),
		"max_replicas":       optionalInt("At most this many; the larger of 1 and `min_replicas` when left out."),
		"target_concurrency": optionalInt("Requests in flight that one replica should carry, 1 to 10000; 8 when left out."),
		"idle_s":             optionalInt("Seconds without a request before an endpoint scales to zero, at least 30; 300 when left out."),
		"schedule": schema.MapNestedAttribute{
			Optional:            true,
			MarkdownDescription: "Other bounds at certain times, by a name of your choice.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"cron":         schema.StringAttribute{Required: true, MarkdownDescription: "When the window opens, as a cron expression."},
				"duration_s":   schema.Int64Attribute{Required: true, MarkdownDescription: "How long it stays open in seconds."},
				"timezone":     optionalString("IANA time zone of `cron`; UTC when left out."),
				"min_replicas": optionalInt("At least this many while it is open."),
				"max_replicas": optionalInt("At most this many while it is open."),
			}},
		},
	}
}

func rolloutAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"strategy": optionalString("`surge` starts the new replicas beside the old ones, `swap` stops the old ones first; `surge` when left out."),
		"steps": schema.ListAttribute{
			Optional:            true,
			ElementType:         types.Int64Type,
			Validators:          []validator.List{listvalidator.NoNullValues()},
			MarkdownDescription: "Percent of the way from the old split to the new, growing, ending at 100; `[1, 10, 50, 100]` when left out.",
		},
		"step_hold_s": optionalInt("Seconds that each step is held; 60 when left out."),
		"bake_s":      optionalInt("Seconds that replicas without traffic stay warm; 600 when left out."),
		"retry":       optionalString("Any text. Changing it tries a rejected spec again."),
	}
}

func sloAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"ttft_p95_ms":    optionalInt("95th percentile of the time to the first token in milliseconds."),
		"latency_p95_ms": optionalInt("95th percentile of the time to the whole answer in milliseconds."),
		"error_rate":     schema.Float64Attribute{Optional: true, MarkdownDescription: "Share of requests that may fail, 0 to 1."},
	}
}

func loggingAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"content": optionalString("`redacted` keeps sizes, token counts and finish reasons and never text, `off` keeps the audit record only, " +
			"`full` keeps text; `redacted` when left out."),
		"retention_days": optionalInt("How long text is kept where `content` is `full`; 30 when left out."),
	}
}

func optionalString(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: description}
}

func optionalInt(description string) schema.Int64Attribute {
	return schema.Int64Attribute{Optional: true, MarkdownDescription: description}
}
