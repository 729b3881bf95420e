"""Prints the vectors of vectors.json: Sparkplug B messages that two independent implementations encode, each with the
JSON document that it is. First it has both of them read rebirth.hex, the bridge's own command.

    python3 -m venv /tmp/sparkplug
    /tmp/sparkplug/bin/pip install mqtt-spb-wrapper==2.1.2 pysparkplug==0.3.2 protobuf==3.20.3
    /tmp/sparkplug/bin/python tests/vectors/sparkplug/vectors.py > vectors.json

mqtt-spb-wrapper brings the messages of Eclipse Tahu; pysparkplug has its own. A story is a list of messages that come
one after the other over one connection; `notes` is what is counted of a message.
"""

import base64
import json
import math
import pathlib
import struct

import pysparkplug
from mqtt_spb_wrapper.spb_protobuf import sparkplug_b as tahu
from mqtt_spb_wrapper.spb_protobuf.sparkplug_b_pb2 import DataType, Payload
from pysparkplug import DataType as T
from pysparkplug import Metric

AT = 1_795_708_800_000
OPTIONAL = ("is_historical", "is_transient", "is_null")


def shortest(number):
    """The shortest decimal that is this number of 32 bits."""
    for digits in range(1, 10):
        text = f"{number:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == struct.pack("<f", number):
                return float(text)
        except OverflowError:  # Rounded up beyond the largest one.
            pass
    raise AssertionError(number)


def floating(number, is_single=False):
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return shortest(number) if is_single else number


def b64(content):
    return base64.b64encode(content).decode()


def message(mqtt_topic, payload, document, notes=()):
    levels = mqtt_topic.split("/")
    names = {"message_type": levels[2], "group_id": levels[1], "edge_node_id": levels[3]}
    if len(levels) == 5:
        names["device_id"] = levels[4]
    content = payload if isinstance(payload, bytes) else payload.SerializeToString()
    return {"mqtt_topic": mqtt_topic, "payload": b64(content), "document": names | document, "notes": list(notes)}


def payload(seq=None, timestamp=AT):
    made = Payload()
    made.timestamp = timestamp
    if seq is not None:
        made.seq = seq
    return made


SCALARS = [
    ("Int8", -5), ("Int8", 127), ("Int16", -32768), ("Int32", -2147483648), ("Int32", 7),
    ("Int64", -9223372036854775808), ("Int64", 9007199254740993), ("UInt8", 255), ("UInt16", 65535),
    ("UInt32", 4294967295), ("UInt64", 18446744073709551615), ("Float", 0.1), ("Float", 3.4028234663852886e38),
    ("Float", math.nan), ("Float", -math.inf), ("Double", 0.1), ("Double", math.inf), ("Double", -1.5e300),
    ("Boolean", True), ("Boolean", False), ("String", "\u00fcber \"quoted\"\n"), ("DateTime", AT), ("Text", ""),
    ("UUID", "c3cdbe8d-15a6-4a43-8e0e-5a1f7e0f3d3b"), ("Bytes", b"\x00\xff\x10"), ("File", b"text"),
]


def scalar(kind, value):
    if isinstance(value, bytes):
        return b64(value)
    if isinstance(value, float):
        return floating(value, kind == "Float")
    return value


def all_types():
    made, metrics = payload(0), []
    for place, (kind, value) in enumerate(SCALARS):
        name = f"{kind} {place}"
        tahu.addMetric(made, name, place, getattr(tahu.MetricDataType, kind), value, AT + place)
        metrics.append(
            {"name": name, "alias": place, "timestamp": AT + place, "type": kind, "value": scalar(kind, value)}
        )
    # Eclipse Tahu for Java writes UInt32 as a long, and negative small integers with all bits of an int.
    for name, number, kind in [("long", 4294967295, "UInt32"), ("wide", 4294967291, "Int8"), ("wide", 4294967291, "Int16")]:
        metric = made.metrics.add(name=name, datatype=DataType.Value(kind))
        if kind == "UInt32":
            metric.long_value = number
        else:
            metric.int_value = number
        metrics.append({"name": name, "type": kind, "value": number if kind == "UInt32" else -5})
    return [message("spBv1.0/plant/NBIRTH/all", made, {"timestamp": AT, "seq": 0, "metrics": metrics})]


ARRAYS = [
    ("Int8Array", struct.pack("<2b", -23, 123), [-23, 123]),
    ("Int16Array", struct.pack("<2h", -30000, 30000), [-30000, 30000]),
    ("Int32Array", struct.pack("<2i", -1, 315338746), [-1, 315338746]),
    ("Int64Array", struct.pack("<2q", -4270929666821191986, 7), [-4270929666821191986, 7]),
    ("UInt8Array", struct.pack("<2B", 23, 250), [23, 250]),
    ("UInt16Array", struct.pack("<2H", 30, 52360), [30, 52360]),
    ("UInt32Array", struct.pack("<2I", 52, 3293969225), [52, 3293969225]),
    ("UInt64Array", struct.pack("<2Q", 52, 16444743074749521625), [52, 16444743074749521625]),
    ("FloatArray", struct.pack("<3f", 1.23, 89.341, math.nan), [1.23, 89.341, "NaN"]),
    ("DoubleArray", struct.pack("<2d", 12.354213, -math.inf), [12.354213, "-Infinity"]),
    # The example of the specification.
    ("BooleanArray", bytes([12, 0, 0, 0, 0x34, 0xD0]),
     [False, False, True, True, False, True, False, False, True, True, False, True]),
    ("StringArray", b"ABC\x00hello\x00\x00", ["ABC", "hello", ""]),
    ("DateTimeArray", struct.pack("<2Q", 1256102875335, 1656107875000), [1256102875335, 1656107875000]),
    ("Int32Array", b"", []), ("StringArray", b"", []), ("BooleanArray", bytes(4), []),
]


def arrays():
    made, metrics = payload(1), []
    for place, (kind, content, value) in enumerate(ARRAYS):
        name = f"{kind} {place}"
        made.metrics.add(name=name, datatype=DataType.Value(kind), bytes_value=content)
        metrics.append({"name": name, "type": kind, "value": value})
    return [message("spBv1.0/plant/DBIRTH/all/arrays", made, {"timestamp": AT, "seq": 1, "metrics": metrics})]


def composites():
    made = payload(2)
    made.uuid = "com.example"
    made.body = b"\x01\x02"
    table = tahu.initDatasetMetric(
        made, "table", 4, ["n", "text", "when"], [tahu.DataSetDataType.Int8, tahu.DataSetDataType.String, tahu.DataSetDataType.DateTime]
    )
    made.metrics[-1].timestamp = AT
    row = table.rows.add()
    row.elements.add().int_value = 251
    row.elements.add().string_value = "a"
    row.elements.add().long_value = AT
    row = table.rows.add()
    row.elements.add().int_value = 5
    row.elements.add()
    row.elements.add().long_value = AT + 1
    metrics = [{
        "name": "table", "alias": 4, "timestamp": AT, "type": "DataSet",
        "value": {"columns": ["n", "text", "when"], "types": ["Int8", "String", "DateTime"],
                  "rows": [[-5, "a", AT], [5, None, AT + 1]]},
    }]

    motor = tahu.initTemplateMetric(made, "motor 1", None, "motor")
    made.metrics[-1].timestamp = AT
    motor.version = "v2"
    tahu.addMetric(motor, "rpm", None, tahu.MetricDataType.Int32, -3, AT)
    inner = motor.metrics.add(name="drive", datatype=DataType.Value("Template"))
    inner.template_value.template_ref = "drive"
    inner.template_value.metrics.add(name="amps", datatype=DataType.Value("Float"), float_value=0.5)
    parameter = motor.parameters.add(name="poles", type=DataType.Value("Int16"))
    parameter.int_value = 65532
    motor.parameters.add(name="unset", type=DataType.Value("String"))
    metrics.append({
        "name": "motor 1", "timestamp": AT, "type": "Template",
        "value": {
            "version": "v2", "template_ref": "motor", "is_definition": False,
            "metrics": [
                {"name": "rpm", "timestamp": AT, "type": "Int32", "value": -3},
                {"name": "drive", "type": "Template", "value": {
                    "template_ref": "drive", "parameters": [],
                    "metrics": [{"name": "amps", "type": "Float", "value": 0.5}]}},
            ],
            "parameters": [{"name": "poles", "type": "Int16", "value": -4}, {"name": "unset", "type": "String"}],
        },
    })
    tahu.initTemplateMetric(made, "definition", None, None)
    made.metrics[-1].timestamp = AT
    metrics.append({
        "name": "definition", "timestamp": AT, "type": "Template",
        "value": {"is_definition": True, "metrics": [], "parameters": []},
    })

    metric = tahu.addMetric(made, "level", 9, tahu.MetricDataType.Double, 2.5, AT)
    properties = metric.properties
    for key, kind, field, value in [("Quality", "Int32", "int_value", 192), ("engUnit", "String", "string_value", "m"),
                                    ("offset", "Int16", "int_value", 65535), ("engHigh", "Double", "double_value", 9.5),
                                    ("on", "Boolean", "boolean_value", True)]:
        properties.keys.append(key)
        added = properties.values.add(type=DataType.Value(kind))
        setattr(added, field, value)
    properties.keys.append("none")
    properties.values.add(type=DataType.Value("String"), is_null=True)
    properties.keys.append("set")
    nested = properties.values.add(type=DataType.Value("PropertySet"))
    nested.propertyset_value.keys.append("deep")
    nested.propertyset_value.values.add(type=DataType.Value("UInt64"), long_value=1 << 63)
    properties.keys.append("sets")
    several = properties.values.add(type=DataType.Value("PropertySetList"))
    for number in range(2):
        one = several.propertysets_value.propertyset.add()
        one.keys.append("k")
        one.values.add(type=DataType.Value("Float"), float_value=number)
    metric.metadata.is_multi_part = False
    metric.metadata.content_type = "text/plain"
    metric.metadata.size = 1 << 40
    metric.metadata.seq = 3
    metric.metadata.file_name = "f"
    metric.metadata.file_type = "txt"
    metric.metadata.md5 = "d41d8cd98f00b204e9800998ecf8427e"
    metric.metadata.description = "a level"
    metrics.append({
        "name": "level", "alias": 9, "timestamp": AT, "type": "Double", "value": 2.5,
        "metadata": {"is_multi_part": False, "content_type": "text/plain", "size": 1 << 40, "seq": 3, "file_name": "f",
                     "file_type": "txt", "md5": "d41d8cd98f00b204e9800998ecf8427e", "description": "a level"},
        "properties": {
            "Quality": {"type": "Int32", "value": 192}, "engUnit": {"type": "String", "value": "m"},
            "offset": {"type": "Int16", "value": -1}, "engHigh": {"type": "Double", "value": 9.5},
            "on": {"type": "Boolean", "value": True}, "none": {"type": "String", "is_null": True, "value": None},
            "set": {"type": "PropertySet", "value": {"deep": {"type": "UInt64", "value": 1 << 63}}},
            "sets": {"type": "PropertySetList",
                     "value": [{"k": {"type": "Float", "value": 0.0}}, {"k": {"type": "Float", "value": 1.0}}]},
        },
    })
    tahu.addHistoricalMetric(made, "old", None, tahu.MetricDataType.Boolean, True)
    made.metrics[-1].timestamp = AT - 1
    made.metrics[-1].is_transient = True
    metrics.append({"name": "old", "timestamp": AT - 1, "type": "Boolean", "is_historical": True,
                    "is_transient": True, "value": True})
    tahu.addNullMetric(made, "null", None, tahu.MetricDataType.Int8)
    made.metrics[-1].timestamp = AT
    metrics.append({"name": "null", "timestamp": AT, "type": "Int8", "is_null": True, "value": None})
    document = {"timestamp": AT, "seq": 2, "uuid": "com.example", "metrics": metrics, "body": "AQI="}
    return [message("spBv1.0/plant/DBIRTH/all/composites", made, document)]


def ours(metric, is_typed, is_unresolved=False):
    """What a metric of pysparkplug is as JSON."""
    document = {"name": metric.name, "alias": metric.alias, "timestamp": metric.timestamp}
    document = {key: value for key, value in document.items() if value is not None}
    if is_unresolved:
        document["is_unresolved"] = True
    names = {T.BOOLEAN: "Boolean", T.INT64: "Int64", T.INT16: "Int16", T.DOUBLE: "Double", T.STRING: "String"}
    if is_typed:
        document["type"] = names[metric.datatype]
    document |= {key: True for key in OPTIONAL if getattr(metric, key)}
    document["value"] = None if metric.is_null else metric.value
    return document


def life():
    """A node and its device from birth to death, data by alias and without types."""
    node, device = "spBv1.0/plant/{}/edge", "spBv1.0/plant/{}/edge/pump"
    bd_seq = Metric(timestamp=AT, name="bdSeq", datatype=T.INT64, value=4)
    temperature = Metric(timestamp=AT, name="temperature", datatype=T.INT16, value=-7, alias=1)
    state = Metric(timestamp=AT, name="state", datatype=T.STRING, value="on", alias=2)
    flow = Metric(timestamp=AT, name="flow", datatype=T.DOUBLE, value=1.5, alias=1)

    def by_alias(metric, **changes):
        values = {"timestamp": metric.timestamp, "name": None, "datatype": metric.datatype, "value": metric.value, "alias": metric.alias}
        return Metric(**(values | changes))

    def named(metric, name):
        return Metric(timestamp=metric.timestamp, name=name, datatype=metric.datatype, value=metric.value,
                      alias=metric.alias, is_historical=metric.is_historical, is_null=metric.is_null)

    colder, late, gone = by_alias(temperature, value=-9), by_alias(temperature, value=-8, is_historical=True), by_alias(state, is_null=True)
    raw = ours(colder, False) | {"value": 65527, "is_unresolved": True}
    raw.pop("name", None)
    birth = pysparkplug.NBirth(timestamp=AT, seq=255, metrics=(bd_seq, temperature, state)).encode()
    born = {"timestamp": AT, "seq": 255, "bd_seq": 4, "metrics": [ours(one, True) for one in (bd_seq, temperature, state)]}
    data = pysparkplug.NData(timestamp=AT, seq=0, metrics=(colder, late, gone)).encode()
    read = [ours(named(colder, "temperature"), True), ours(named(late, "temperature"), True), ours(named(gone, "state"), True)]
    device_birth = pysparkplug.DBirth(timestamp=AT, seq=1, metrics=(flow,)).encode()
    device_data = pysparkplug.DData(timestamp=AT, seq=2, metrics=(by_alias(flow, value=2.5),)).encode()
    device_late = pysparkplug.DData(timestamp=AT, seq=5, metrics=(by_alias(flow, value=3.5),)).encode()
    device_death = pysparkplug.DDeath(timestamp=AT, seq=6).encode()
    device_orphan = pysparkplug.DData(timestamp=AT, seq=7, metrics=(by_alias(flow, value=4.5),)).encode()
    death = pysparkplug.NDeath(timestamp=AT, bd_seq_metric=bd_seq).encode()
    orphan = pysparkplug.NData(timestamp=AT, seq=8, metrics=(colder,)).encode()
    command = pysparkplug.NCmd(timestamp=AT, metrics=(Metric(timestamp=AT, name="Node Control/Rebirth", datatype=T.BOOLEAN, value=True),)).encode(include_dtypes=True)
    unknown = ["SparkplugAliasUnknown"]

    def flow_is(seq, value, name="flow"):
        metric = named(by_alias(flow, value=value), name)
        return {"timestamp": AT, "seq": seq, "metrics": [ours(metric, name is not None, name is None)]}

    return [
        message(node.format("NDATA"), data, {"timestamp": AT, "seq": 0, "metrics": [
            raw, ours(late, False) | {"value": 65528, "is_unresolved": True}, ours(gone, False, True)]}, unknown),
        message(node.format("NBIRTH"), birth, born),
        message(node.format("NDATA"), data, {"timestamp": AT, "seq": 0, "metrics": read}),
        message(device.format("DBIRTH"), device_birth, {"timestamp": AT, "seq": 1, "metrics": [ours(flow, True)]}),
        message(device.format("DDATA"), device_data, flow_is(2, 2.5)),
        message(device.format("DDATA"), device_late, flow_is(5, 3.5), ["SparkplugGap"]),
        message(node.format("NCMD"), command, {"timestamp": AT, "metrics": [
            {"name": "Node Control/Rebirth", "timestamp": AT, "type": "Boolean", "value": True}]}),
        message(device.format("DDEATH"), device_death, {"timestamp": AT, "seq": 6, "metrics": []}),
        message(device.format("DDATA"), device_orphan, flow_is(7, 4.5, None), unknown),
        message(node.format("NDEATH"), death, {"timestamp": AT, "bd_seq": 4, "metrics": [ours(bd_seq, True)]}),
        message(node.format("NDATA"), orphan, {"timestamp": AT, "seq": 8, "metrics": [raw]}, unknown),
        message(node.format("NBIRTH"), birth, born),
    ]


def assert_rebirth_is_read():
    content = bytes.fromhex(pathlib.Path(__file__).with_name("rebirth.hex").read_text())
    (metric,) = pysparkplug.NCmd.decode(content).metrics
    assert (metric.name, metric.datatype, metric.value) == ("Node Control/Rebirth", T.BOOLEAN, True), metric
    read = Payload.FromString(content)
    assert (read.timestamp, read.metrics[0].timestamp) == (AT, AT), read
    assert read.metrics[0].boolean_value and not read.HasField("seq"), read
    assert read.SerializeToString() == content


assert_rebirth_is_read()
stories = [all_types(), arrays(), composites(), life()]
print(json.dumps(stories, indent=1, sort_keys=True, allow_nan=False))
