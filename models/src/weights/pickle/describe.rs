//! The calls that describe a tensor; none of them is made.

use safetensors::tensor::Dtype;

use super::Described;
use super::machine::{LONGEST_KEY, Machine};
use super::value::{Object, Value};

/// Dimensions of a tensor; no checkpoint has more.
const MOST_DIMENSIONS: usize = 16;

impl Machine {
    /// What a call gives: of known functions a description of a tensor, else nothing of interest.
    pub fn call(&self, function: Object, arguments: Object) -> Value {
        let (Value::Global(name), Value::Sequence(arguments)) =
            (&self.objects[function], &self.objects[arguments])
        else {
            return Value::Other;
        };
        match (name.as_str(), &arguments[..]) {
            ("collections OrderedDict", []) => Value::Dictionary(Vec::new()),
            (
                "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor",
                [storage, offset, shape, strides, ..],
            ) => self
                .tensor([*storage, *offset, *shape, *strides])
                .map_or(Value::Other, |described| Value::Tensor(Box::new(described))),
            (
                "torch._utils _rebuild_parameter" | "torch._utils _rebuild_parameter_with_state",
                [tensor, ..],
            ) => match &self.objects[*tensor] {
                Value::Tensor(described) => Value::Tensor(described.clone()),
                _ => Value::Other,
            },
            // A tensor that carries more than its values: how to make it, its class, from what.
            ("torch._tensor _rebuild_from_type_v2", [inner, _, arguments, ..]) => {
                match &self.objects[*inner] {
                    Value::Global(name) if name.starts_with("torch._utils ") => {
                        self.call(*inner, *arguments)
                    }
                    _ => Value::Made(function),
                }
            }
            _ => Value::Made(function),
        }
    }

    fn tensor(&self, [storage, offset, shape, strides]: [Object; 4]) -> Option<Described> {
        let Value::Storage { dtype, key } = &self.objects[storage] else {
            return None;
        };
        let size = |object: &Object| match self.objects[*object] {
            Value::Integer(value) => usize::try_from(value).ok(),
            _ => None,
        };
        let sizes = |object: Object| match &self.objects[object] {
            Value::Sequence(items) if items.len() <= MOST_DIMENSIONS => {
                items.iter().map(size).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(Described {
            dtype: *dtype,
            key: key.clone(),
            offset: size(&offset)?,
            shape,
            strides,
        })
    }

    /// The storage that `reference` names: `("storage", type, key, device, count)`.
    pub fn storage(&self, reference: Object) -> Value {
        let Value::Sequence(items) = &self.objects[reference] else {
            return Value::Other;
        };
        let [_, kind, key, ..] = items[..] else {
            return Value::Other;
        };
        let (Value::Global(kind), Value::Text(key)) = (&self.objects[kind], &self.objects[key])
        else {
            return Value::Other;
        };
        let dtype = match kind.rsplit(' ').next().unwrap_or_default() {
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::BF16,
            "DoubleStorage" => Dtype::F64,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" => Dtype::U8,
            "BoolStorage" => Dtype::BOOL,
            _ => return Value::Other,
        };
        if key.len() > LONGEST_KEY {
            Value::Other
        } else {
            Value::Storage {
                dtype,
                key: key.clone(),
            }
        }
    }
}
