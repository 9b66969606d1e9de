// dcmjs-dimse as a peer: one operation a call, its answers as JSON, one a line. Exit code 1 when the network failed.
// usage: node dimse.js echo|store|find|get|move|serve HOST PORT CALLING ARGUMENT…
const { createHash } = require("node:crypto");
const dimse = require("dcmjs-dimse");

const { CEchoRequest, CFindRequest, CGetRequest, CMoveRequest, CStoreRequest } = dimse.requests;
const { CStoreResponse } = dimse.responses;
const { PresentationContextResult, Status, TransferSyntax } = dimse.constants;

dimse.log.setLevel("silent");

const say = (value) => console.log(JSON.stringify(value));

function describe(dataset) {
  const { SOPInstanceUID, PixelData } = dataset.getElements();
  const pixels = Buffer.from(Array.isArray(PixelData) ? PixelData[0] : PixelData);
  return { stored: SOPInstanceUID, pixels: createHash("sha256").update(pixels).digest("hex") };
}

const requests = {
  echo: () => [new CEchoRequest()],
  store: (...files) => files.map((file) => new CStoreRequest(file)),
  find: (level, keys) => [CFindRequest[`create${level}FindRequest`](JSON.parse(keys))],
  get: (study) => [CGetRequest.createStudyGetRequest(study)],
  move: (destination, study) => [CMoveRequest.createStudyMoveRequest(destination, study)],
};

class Receiver extends dimse.Scp {
  associationRequested(association) {
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      const offered = context.getTransferSyntaxUids();
      const known = [TransferSyntax.ExplicitVRLittleEndian, TransferSyntax.ImplicitVRLittleEndian];
      const syntax = known.find((one) => offered.includes(one));
      if (syntax) context.setResult(PresentationContextResult.Accept, syntax);
      else context.setResult(PresentationContextResult.RejectTransferSyntaxesNotSupported);
    }
    this.sendAssociationAccept();
  }

  cStoreRequest(request, callback) {
    say(describe(request.getDataset()));
    const response = CStoreResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

function ask(operation, host, port, calling, ...rest) {
  const client = new dimse.Client();
  for (const request of requests[operation](...rest)) {
    request.on("response", (response) => {
      const elements = response.hasDataset() ? response.getDataset().getElements() : {};
      say({ status: response.getStatus(), elements });
    });
    client.addRequest(request);
  }
  client.on("cStoreRequest", (request, callback) => {
    say(describe(request.getDataset()));
    const response = CStoreResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  });
  client.on("associationRejected", (reason) => say({ rejected: reason }));
  client.on("networkError", (error) => {
    console.error(String(error));
    process.exit(1);
  });
  client.send(host, Number(port), calling, "DRIMBOX");
}

const [operation, host, port, calling, ...rest] = process.argv.slice(2);
if (operation === "serve") {
  const server = new dimse.Server(Receiver);
  server.on("networkError", () => {});
  server.listen(Number(port));
  say({ listening: Number(port) });
} else {
  ask(operation, host, port, calling, ...rest);
}
