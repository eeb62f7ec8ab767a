//! OpenTelemetry's `MetricsData` (OTLP 1), as far as clients send it (KIP-714): numbers, as gauges and sums.
//!
//! A reader of protocol buffers that takes what it knows and steps over all else: histograms, units, descriptions, resources. It keeps
//! nothing, calls for each number, and its depth is that of the format; what is malformed ends it.

/// A number that a client sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// The metric's name, and its attributes as `name{a=1,b=x}`, in the order in which they came.
    pub(super) series: String,
    pub(super) value: f64,
    /// It is what was added since the last one.
    pub(super) is_delta: bool,
}

/// Bytes that are no `MetricsData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// OTLP's number of sums that tell what was added.
const DELTA: u64 = 1;

/// The longest name of a series; what is longer is stepped over.
const SERIES_BYTES_MAX: usize = 1024;

/// Calls `each` for every number.
pub(super) fn read(data: &[u8], each: &mut impl FnMut(Point)) -> Result<(), Malformed> {
    // MetricsData.resource_metrics, ResourceMetrics.scope_metrics, ScopeMetrics.metrics.
    within(data, 1, &mut |resource| within(resource, 2, &mut |scope| within(scope, 2, &mut |it| metric(it, each))))
}

/// Metric: its name, and a gauge or a sum.
fn metric(bytes: &[u8], each: &mut impl FnMut(Point)) -> Result<(), Malformed> {
    let mut name = "";
    let mut numbers = None;
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => name = std::str::from_utf8(text).map_err(|_| Malformed)?,
            (5 | 7, Value::Bytes(inner)) => numbers = Some(inner),
            _ => {}
        }
    }
    // A long name stands once, its numbers may be very many: whoever copied it for each would never be done.
    let Some(numbers) = numbers.filter(|_| name.len() <= SERIES_BYTES_MAX) else { return Ok(()) };
    let mut is_delta = false;
    for field in Fields(numbers) {
        if let (2, Value::Number(temporality)) = field? {
            is_delta = temporality == DELTA;
        }
    }
    within(numbers, 1, &mut |bytes| {
        if let Some((attributes, value)) = point(bytes)? {
            let series = if attributes.is_empty() { name.to_owned() } else { format!("{name}{{{attributes}}}") };
            if series.len() <= SERIES_BYTES_MAX {
                each(Point { series, value, is_delta });
            }
        }
        Ok(())
    })
}

/// NumberDataPoint: its attributes and its value, where it has one.
fn point(bytes: &[u8]) -> Result<Option<(String, f64)>, Malformed> {
    let (mut attributes, mut value) = (String::new(), None);
    for field in Fields(bytes) {
        match field? {
            (4, Value::Eight(bits)) => value = Some(f64::from_bits(bits)),
            #[expect(clippy::cast_precision_loss, reason = "what is shown has a double's precision")]
            (6, Value::Eight(bits)) => value = Some(bits.cast_signed() as f64),
            (7, Value::Bytes(pair)) if attributes.len() <= SERIES_BYTES_MAX => attribute(pair, &mut attributes)?,
            _ => {}
        }
    }
    Ok(value.map(|value| (attributes, value)))
}

/// KeyValue, with an AnyValue that is no structure.
fn attribute(bytes: &[u8], to: &mut String) -> Result<(), Malformed> {
    let (mut key, mut value) = ("", String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => key = std::str::from_utf8(text).map_err(|_| Malformed)?,
            (2, Value::Bytes(any)) => {
                for field in Fields(any) {
                    match field? {
                        (1, Value::Bytes(text)) => {
                            std::str::from_utf8(text).map_err(|_| Malformed)?.clone_into(&mut value);
                        }
                        (2 | 3, Value::Number(number)) => value = number.cast_signed().to_string(),
                        (4, Value::Eight(bits)) => value = f64::from_bits(bits).to_string(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if !to.is_empty() {
        to.push(',');
    }
    to.push_str(key);
    to.push('=');
    to.push_str(&value);
    Ok(())
}

/// Calls `each` for the embedded messages of one field.
fn within(bytes: &[u8], wanted: u64, each: &mut impl FnMut(&[u8]) -> Result<(), Malformed>) -> Result<(), Malformed> {
    for field in Fields(bytes) {
        if let (number, Value::Bytes(inner)) = field?
            && number == wanted
        {
            each(inner)?;
        }
    }
    Ok(())
}

/// A field's value, by its wire type.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Eight(u64),
    Four,
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers. Ends after the first that is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Eight(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Four
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A field that is a message or a text.
    fn field(number: u8, inner: &[u8]) -> Vec<u8> {
        assert!(inner.len() < 16_384);
        let low = u8::try_from(inner.len() & 0x7f).unwrap();
        let high = u8::try_from(inner.len() >> 7).unwrap();
        let mut bytes = vec![number << 3 | 2, low | 0x80, high];
        bytes.extend(inner);
        bytes
    }

    fn number(name: &str, attributes: &[(&str, &str)], value: f64) -> (Vec<u8>, Vec<u8>) {
        let mut point: Vec<u8> = Vec::new();
        for (key, text) in attributes {
            point.extend(field(7, &[field(1, key.as_bytes()), field(2, &field(1, text.as_bytes()))].concat()));
        }
        point.push(4 << 3 | 1);
        point.extend(value.to_bits().to_le_bytes());
        (field(1, name.as_bytes()), field(1, &point))
    }

    /// MetricsData of one metric: a gauge, or a sum of that temporality.
    pub(in crate::telemetry) fn data(name: &str, attributes: &[(&str, &str)], value: f64, sum: Option<u8>) -> Vec<u8> {
        let (name, point) = number(name, attributes, value);
        let numbers = match sum {
            None => field(5, &point),
            Some(temporality) => field(7, &[point, vec![2 << 3, temporality]].concat()),
        };
        field(1, &field(2, &field(2, &[name, numbers].concat())))
    }

    fn points(data: &[u8]) -> Result<Vec<Point>, Malformed> {
        let mut points = Vec::new();
        read(data, &mut |point| points.push(point)).map(|()| points)
    }

    #[test]
    fn gauges_and_sums_are_told_with_their_attributes() {
        let two = [data("a", &[], 1.5, None), data("b", &[("topic", "t"), ("partition", "3")], 2.0, Some(1))].concat();
        let point = |series: &str, value, is_delta| Point { series: series.to_owned(), value, is_delta };
        assert_eq!(points(&two), Ok(vec![point("a", 1.5, false), point("b{topic=t,partition=3}", 2.0, true)]));
        assert_eq!(points(&data("c", &[], 4.0, Some(2))), Ok(vec![point("c", 4.0, false)]));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what is tested is real time")]
    fn a_long_name_is_stepped_over_and_not_copied_for_each_of_its_numbers() {
        let long = |number: u8, inner: &[u8]| {
            let length = inner.len();
            let length = [0, 7, 14, 21].map(|shift| u8::try_from(length >> shift & 0x7f).unwrap() | 0x80);
            [&[number << 3 | 2][..], &length, &[0], inner].concat()
        };
        let (name, (_, point)) = (vec![b'n'; 2_000_000], number("", &[], 1.0));
        let metric = [long(1, &name), long(5, &point.repeat(150_000))].concat();
        let data = [long(1, &long(2, &long(2, &metric))), data("a", &[], 1.5, None)].concat();
        let began = std::time::Instant::now();
        let found = points(&data).unwrap();
        assert_eq!(found, [Point { series: "a".to_owned(), value: 1.5, is_delta: false }]);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[test]
    fn what_is_cut_off_or_no_message_is_malformed() {
        let whole = data("a", &[("x", "y")], 1.0, Some(1));
        for length in 1..whole.len() {
            assert_eq!(points(&whole[..length]), Err(Malformed), "{length}");
        }
        assert_eq!(points(&[0xff; 11]), Err(Malformed));
        assert_eq!(points(&[]), Ok(Vec::new()));
    }
}
