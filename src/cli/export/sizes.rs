//! `config.json` of a transformer, as other programs expect it.

use afd_models::student::StudentConfig;
use serde_json::json;

/// `config.json` of a diffusers `WanTransformer3DModel`.
pub(super) fn diffusers_sizes(config: &StudentConfig) -> serde_json::Value {
    json!({
        "_class_name": "WanTransformer3DModel",
        "added_kv_proj_dim": null,
        "attention_head_dim": config.head_width(),
        "cross_attn_norm": true,
        "eps": StudentConfig::EPSILON,
        "ffn_dim": config.feed_forward_width,
        "freq_dim": config.frequency_width,
        "image_dim": null,
        "in_channels": config.latent_channels,
        "num_attention_heads": config.heads,
        "num_layers": config.layers,
        "out_channels": config.latent_channels,
        "patch_size": [1, config.patch, config.patch],
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": config.text_width,
    })
}

/// `config.json` of the original repository's `WanModel`.
pub(super) fn wan_sizes(config: &StudentConfig) -> serde_json::Value {
    json!({
        "_class_name": "WanModel",
        "dim": config.width,
        "eps": StudentConfig::EPSILON,
        "ffn_dim": config.feed_forward_width,
        "freq_dim": config.frequency_width,
        "in_dim": config.latent_channels,
        "model_type": "t2v",
        "num_heads": config.heads,
        "num_layers": config.layers,
        "out_dim": config.latent_channels,
        "patch_size": [1, config.patch, config.patch],
        "text_dim": config.text_width,
        "text_len": 512,
    })
}
