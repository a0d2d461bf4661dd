// The region as an operation of OpenVINO: activations first, then the plan's three constants.
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/op.hpp>
#include <tbb/task_arena.h>

#include "../variants.h"
#include "executor.h"

namespace wieldy {

class Region : public ov::op::Op {
public:
    OPENVINO_OP("Region", "wieldy");

    Region() = default;

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto copy = std::make_shared<Region>();
        copy->set_arguments(inputs);
        copy->shapes_ = shapes_;
        copy->variant_ = variant_;
        copy->level_variant_ = level_variant_;
        copy->workspace_floats_ = workspace_floats_;
        copy->constructor_validate_and_infer_types();
        return copy;
    }

    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("shapes", shapes_);  // of the outputs, four sizes each
        visitor.on_attribute("variant", variant_);
        visitor.on_attribute("level_variant", level_variant_);  // of products of levels, if there are any
        visitor.on_attribute("workspace_floats", workspace_floats_);
        return true;
    }

    void validate_and_infer_types() override {
        set_output_size(shapes_.size() / 4);
        for (std::size_t i = 0; i < shapes_.size() / 4; ++i) {
            const auto at = shapes_.begin() + 4 * i;
            set_output_type(i, ov::element::f32, ov::PartialShape(ov::Shape(at, at + 4)));
        }
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const std::size_t tensors = inputs.size() - 3;
        const auto &steps = inputs[tensors], &indices = inputs[tensors + 1], &values = inputs[tensors + 2];
        const RegionPlan plan{steps.data<Int>(), static_cast<Int>(steps.get_size()), indices.data<Int>(),
                              values.data<float>(), static_cast<std::size_t>(workspace_floats_),
                              find_variant(variant_).product, level_kernel(level_variant_)};
        auto workspace = pool_->take(plan.workspace_floats);
        Team team(tbb::this_task_arena::max_concurrency());
        for (std::size_t example = 0; example < outputs[0].get_shape()[0]; ++example) {
            std::vector<const float*> from;
            std::vector<float*> to;
            for (std::size_t i = 0; i < tensors; ++i)
                from.push_back(inputs[i].data<float>() + example * inputs[i].get_strides()[0] / sizeof(float));
            for (auto& output : outputs)
                to.push_back(output.data<float>() + example * output.get_strides()[0] / sizeof(float));
            run_region(plan, team, workspace->data(), from.data(), to.data());
        }
        pool_->give_back(std::move(workspace));
        return true;
    }

private:
    std::vector<std::int64_t> shapes_;
    std::string variant_, level_variant_;
    std::int64_t workspace_floats_ = 0;
    std::shared_ptr<WorkspacePool> pool_ = std::make_shared<WorkspacePool>();
};

// A linear layer with a sparse weight: the input (..., features), then starts, columns, values, bias and cuts.
// Columns come as int32 also where two of them share one: OpenVINO would widen constants of 16 bits.
class SparseLinear : public ov::op::Op {
public:
    OPENVINO_OP("SparseLinear", "wieldy");

    SparseLinear() = default;

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto copy = std::make_shared<SparseLinear>();
        copy->set_arguments(inputs);
        copy->outputs_ = outputs_;
        copy->block_ = block_;
        copy->low_ = low_;
        copy->high_ = high_;
        copy->wide_ = wide_;
        copy->variant_ = variant_;
        copy->constructor_validate_and_infer_types();
        return copy;
    }

    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("outputs", outputs_);
        visitor.on_attribute("block", block_);
        visitor.on_attribute("low", low_);
        visitor.on_attribute("high", high_);
        visitor.on_attribute("wide", wide_);
        visitor.on_attribute("variant", variant_);
        return true;
    }

    void validate_and_infer_types() override {
        auto shape = get_input_partial_shape(0);
        shape[shape.size() - 1] = outputs_;
        set_output_type(0, ov::element::f32, shape);
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const std::size_t features = inputs[0].get_shape().back();
        const Linear task{inputs[0].data<float>(),
                          inputs[1].data<Int>(),
                          inputs[2].data(),
                          inputs[3].data<float>(),
                          inputs[4].data<float>(),
                          outputs[0].data<float>(),
                          static_cast<std::int64_t>(features),
                          outputs_,
                          low_,
                          high_,
                          static_cast<int>(inputs[0].get_size() / features),
                          static_cast<int>(block_),
                          wide_};
        run_linear(task, find_variant(variant_).linear, inputs[5].data<Int>(),
                   static_cast<int>(inputs[5].get_size()) - 1);
        return true;
    }

private:
    std::int64_t outputs_ = 0, block_ = 1;
    float low_ = 0, high_ = 0;
    bool wide_ = false;
    std::string variant_;
};

}  // namespace wieldy

OPENVINO_CREATE_EXTENSIONS(
    std::vector<ov::Extension::Ptr>({std::make_shared<ov::OpExtension<wieldy::Region>>(),
                                      std::make_shared<ov::OpExtension<wieldy::SparseLinear>>()}))
