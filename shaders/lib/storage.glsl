// Extensions that the weight storage type needs; before anything else.
#if defined(WEIGHT_F16S) || defined(WEIGHT_BF16S)
#extension GL_EXT_shader_16bit_storage : require
#elif defined(WEIGHT_Q8S)
#extension GL_EXT_shader_8bit_storage : require
#endif
