package endpoint

import (
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	managed "github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// statusAttributes are what the data source has beyond the resource.
func statusAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"created_at":          schema.StringAttribute{Computed: true, MarkdownDescription: "When it was created, in RFC 3339."},
		"observed_generation": readInt("Generation that the status is about."),
		"phase":               schema.StringAttribute{Computed: true, MarkdownDescription: "The conditions in one word."},
		"conditions": schema.ListNestedAttribute{
			Computed:            true,
			MarkdownDescription: "How it stands: one statement for each type.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"type":    schema.StringAttribute{Computed: true, MarkdownDescription: "`Ready`, `Progressing`, `Admitted` or `Degraded`."},
				"status":  schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether it holds."},
				"reason":  schema.StringAttribute{Computed: true, MarkdownDescription: "Why, in one word."},
				"message": schema.StringAttribute{Computed: true, MarkdownDescription: "Why, in a sentence."},
			}},
		},
		"replicas": schema.SingleNestedAttribute{
			Computed:            true,
			MarkdownDescription: "How many replicas there are.",
			Attributes: map[string]schema.Attribute{
				"wanted":   readInt("Wanted now."),
				"ready":    readInt("Serving."),
				"starting": readInt("On their way to serving."),
				"draining": readInt("Finishing their last requests."),
			},
		},
		"live": schema.SingleNestedAttribute{
			Computed:            true,
			MarkdownDescription: "What serves; null while nothing does.",
			Attributes: map[string]schema.Attribute{
				"generation":    readInt("Generation that serves."),
				"instance_type": schema.StringAttribute{Computed: true, MarkdownDescription: "What the replicas run on."},
				"variants": schema.MapNestedAttribute{
					Computed:            true,
					MarkdownDescription: "What serves, by the variant's name.",
					NestedObject:        schema.NestedAttributeObject{Attributes: allRead(variantAttributes())},
				},
			},
		},
		"rejected": schema.SingleNestedAttribute{
			Computed:            true,
			MarkdownDescription: "The change that was last tried and turned back; null when there is none.",
			Attributes: map[string]schema.Attribute{
				"generation": readInt("Generation that was turned back."),
				"reason":     schema.StringAttribute{Computed: true, MarkdownDescription: "Why, in one word."},
				"evidence": schema.ListAttribute{
					Computed: true, ElementType: types.StringType, MarkdownDescription: "Sentences and log lines.",
				},
			},
		},
	}
}

func readInt(description string) schema.Int64Attribute {
	return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
}

// allRead is a resource's attributes as a data source has them: the same names, types and descriptions, all of them read.
func allRead(attributes map[string]managed.Attribute) map[string]schema.Attribute {
	all := make(map[string]schema.Attribute, len(attributes))
	for name, attribute := range attributes {
		all[name] = read(attribute)
	}
	return all
}

func read(attribute managed.Attribute) schema.Attribute {
	description := attribute.GetMarkdownDescription()
	switch kind := attribute.(type) {
	case managed.StringAttribute:
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	case managed.BoolAttribute:
		return schema.BoolAttribute{Computed: true, MarkdownDescription: description}
	case managed.Int64Attribute:
		return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
	case managed.Float64Attribute:
		return schema.Float64Attribute{Computed: true, MarkdownDescription: description}
	case managed.ListAttribute:
		return schema.ListAttribute{Computed: true, MarkdownDescription: description, ElementType: kind.ElementType}
	case managed.SetAttribute:
		return schema.SetAttribute{Computed: true, MarkdownDescription: description, ElementType: kind.ElementType}
	case managed.MapAttribute:
		return schema.MapAttribute{Computed: true, MarkdownDescription: description, ElementType: kind.ElementType}
	case managed.SingleNestedAttribute:
		return schema.SingleNestedAttribute{Computed: true, MarkdownDescription: description, Attributes: allRead(kind.Attributes)}
	case managed.MapNestedAttribute:
		return schema.MapNestedAttribute{
			Computed: true, MarkdownDescription: description,
			NestedObject: schema.NestedAttributeObject{Attributes: allRead(kind.NestedObject.Attributes)},
		}
	default:
		panic(fmt.Sprintf("no data source form of %T", attribute))
	}
}
